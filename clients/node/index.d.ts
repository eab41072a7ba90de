/** Words of a run, in camel case: to, from, percent, first, newOnly, duration… */
export interface Words {
  to?: string | string[];
  from?: string | string[];
  netns?: string;
  pid?: number;
  container?: string;
  cgroup?: string;
  uid?: string | number;
  /** A share of the connections: 20, or "5%/1m" to draw anew every minute. */
  percent?: number | string;
  every?: number;
  first?: number;
  skip?: number;
  maxConnections?: number;
  newOnly?: boolean;
  duration?: string;
  seed?: number;
  [word: string]: unknown;
}

export interface Options extends Words {
  /** The fault need not fire. */
  allowIdle?: boolean;
  /** After how many seconds the fault ends if this process hangs or is killed: 15. */
  lease?: number;
  client?: Client;
}

/** How a fault ended, as the API says. */
export interface Result {
  end: "stopped" | "lease" | "duration" | "error";
  error?: string;
  counts: { flows: number; chosen: number; fired: number; felt: number; diverted: number; dropped: number; forged: number };
  judged: { fault: string; fired: number; verdict: string; idle: boolean; why?: string }[];
}

export class FaultctlError extends Error {
  /** The word that it is about, such as "to"; may be empty. */
  field: string;
  advice: string;
  /** The HTTP status; 0 if there was no answer. */
  status: number;
  /** The exit code that the command line would have. */
  code: number;
}

export class NeverFired extends FaultctlError {}

export class Client {
  readonly address: string;
  constructor(address: string, token?: string);
  static start(program?: string): Promise<Client>;
  reachable(): Promise<boolean>;
  close(): Promise<void>;
  call(method: string, path: string, body?: unknown): Promise<any>;
}

export function defaultClient(): Promise<Client>;

export class Fault {
  private constructor();
  readonly name: string;
  readonly result?: Result;
  stop(): Promise<Result>;
  judge(): void;
  fired(): Promise<number>;
  waitFired(count?: number, seconds?: number): Promise<void>;
  update(words: Words & { fault?: string | string[] }): Promise<unknown>;
  pause(): Promise<unknown>;
  resume(): Promise<unknown>;
  [Symbol.asyncDispose](): Promise<void>;
}

export function inject(fault: string | string[], options: Options): Promise<Fault>;
export function during<T>(fault: string | string[], options: Options, body: (fault: Fault) => T | Promise<T>): Promise<T>;

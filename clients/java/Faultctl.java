import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Timer;
import java.util.TimerTask;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * TCP faults in Java tests, with the JDK alone: an example to copy.
 *
 * <pre>
 * try (var faultctl = Faultctl.connect(); var fault = faultctl.inject("reset", "localhost:5432")) { … }
 * </pre>
 *
 * The fault is in force inside of the block and gone behind it. A block in which it never fired throws
 * NeverFired. The JDK's HttpClient has no unix sockets, so faultctl listens on a loopback address.
 */
public final class Faultctl implements AutoCloseable {
    private final HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(10)).build();
    private final Timer renewer = new Timer("faultctl", true);
    private final String url, token;
    private Process process; // that connect started; may be null

    private Faultctl(String url, String token) {
        this.url = url;
        this.token = token;
    }

    /** The faultctl at FAULTCTL_URL with FAULTCTL_TOKEN, or a new one: FAULTCTL_BIN, or faultctl on PATH. */
    public static Faultctl connect() throws IOException {
        String url = System.getenv("FAULTCTL_URL");
        if (url != null) return new Faultctl(url, System.getenv("FAULTCTL_TOKEN"));
        String program = System.getenv().getOrDefault("FAULTCTL_BIN", "faultctl");
        Path dir = Files.createTempDirectory("faultctl-"), file = dir.resolve("token");
        // Its input is a pipe that nobody writes to: it ends when this process does.
        Process p = new ProcessBuilder(program, "serve", "--listen", "127.0.0.1:0", "--token-file", file.toString(), "--until-eof").redirectErrorStream(true).start();
        BufferedReader said = p.inputReader();
        String line = said.readLine();
        Matcher m = Pattern.compile("listening on (http://\\S+), ").matcher(line == null ? "" : line);
        if (!m.find()) throw new IOException(program + " serve does not answer: " + line);
        String token = Files.readString(file).strip();
        Thread drain = new Thread(() -> said.lines().forEach(l -> {}), "output of faultctl");
        drain.setDaemon(true);
        drain.start();
        Faultctl f = new Faultctl(m.group(1), token);
        f.process = p;
        dir.toFile().deleteOnExit();
        return f;
    }

    /** Ends the faultctl that connect started. */
    @Override
    public void close() throws IOException {
        renewer.cancel();
        if (process != null) process.getOutputStream().close();
    }

    /** A SPEC as on the command line, on connections to that service: in force until it is closed. */
    public Fault inject(String spec, String to) throws IOException {
        return new Fault(spec, to, 15);
    }

    /** What faultctl refused: the word that it is about, and what to do. */
    public static final class Refused extends IOException {
        public final String field, advice;

        Refused(String body, int status) {
            super(status + " " + text(body, "detail") + " " + text(body, "advice"));
            field = text(body, "field");
            advice = text(body, "advice");
        }
    }

    /** Nothing was learnt of a fault: the test has shown nothing about it. */
    public static final class NeverFired extends AssertionError {
        NeverFired(String why) {
            super(why);
        }
    }

    private String call(String method, String path, String body) throws IOException {
        var request = HttpRequest.newBuilder(URI.create(url + path)).timeout(Duration.ofSeconds(30))
                .header("Authorization", "Bearer " + token).header("Content-Type", "application/json")
                .method(method, body == null ? BodyPublishers.noBody() : BodyPublishers.ofString(body)).build();
        try {
            var response = http.send(request, BodyHandlers.ofString());
            if (response.statusCode() >= 300) throw new Refused(response.body(), response.statusCode());
            return response.body();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException(e);
        }
    }

    /** A text of a JSON object, by its key. A program that has a JSON library uses that. */
    private static String text(String json, String key) {
        Matcher m = Pattern.compile("\"" + key + "\":\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(json);
        return m.find() ? m.group(1).replaceAll("\\\\([\"\\\\/])", "$1") : "";
    }

    private static String quote(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    public final class Fault implements AutoCloseable {
        private final String path;
        private final TimerTask renewal;

        private Fault(String spec, String to, int lease) throws IOException {
            path = "/v1/experiments/" + spec.replaceAll("[^A-Za-z0-9].*", "") + "-" + UUID.randomUUID();
            call("PUT", path + "?lease=" + lease + "s", "{\"fault\":" + quote(spec) + ",\"target\":{\"to\":" + quote(to) + "}}");
            renewal = new TimerTask() {
                @Override
                public void run() {
                    try {
                        call("POST", path + "/renew", null);
                    } catch (IOException e) {
                        cancel(); // close says what became of the fault
                    }
                }
            };
            renewer.schedule(renewal, lease * 1000L / 3, lease * 1000L / 3);
        }

        /** On how many connections it has acted so far. */
        public long fired() throws IOException {
            Matcher m = Pattern.compile("\"fired\":(\\d+)").matcher(call("GET", path, null));
            return m.find() ? Long.parseLong(m.group(1)) : 0;
        }

        /** Ends the fault: everything is as it was before when it returns. */
        @Override
        public void close() throws IOException {
            renewal.cancel();
            String end = call("DELETE", path + "?wait=true", null);
            if (List.of("lease", "error").contains(text(end, "end"))) throw new IOException("the fault ended before the block did: " + text(end, "end") + " " + text(end, "error"));
            if (end.contains("\"idle\":true")) throw new NeverFired(text(end, "why"));
        }
    }
}

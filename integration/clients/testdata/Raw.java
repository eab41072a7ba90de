import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;

/**
 * A plain Socket: java Raw HOST PORT PLAY PATH PAUSE LIMIT. Each line that it
 * prints is a call that failed, or what came instead of data, or: fine.
 */
public class Raw {
    static InputStream in;
    static OutputStream out;
    static final byte[] buffer = new byte[1 << 16];

    public static void main(String[] args) throws Exception {
        String play = args[2];
        int pause = (int) (1000 * Double.parseDouble(args[4]));
        int limit = (int) (1000 * Double.parseDouble(args[5]));
        String head = (play.equals("upload") ? "POST " : "GET ") + args[3] + " HTTP/1.1\r\nHost: server\r\n";
        try (Socket s = new Socket()) {
            try {
                s.connect(new InetSocketAddress(args[0], Integer.parseInt(args[1])), limit);
            } catch (IOException e) {
                tell("connect", e);
                return;
            }
            s.setSoTimeout(limit);
            s.setKeepAlive(play.equals("wait"));
            in = s.getInputStream();
            out = s.getOutputStream();
            switch (play) {
                case "upload" -> {
                    byte[] part = new byte[1 << 16];
                    boolean fine = write(head + "Content-Length: " + 128 * part.length + "\r\n\r\n");
                    for (int i = 0; fine && i < 128; i++) {
                        fine = write(part);
                    }
                    if (fine && readOrTell()) {
                        System.out.println("fine");
                    }
                }
                case "end" -> {
                    try {
                        out.write((head + "\r\n").getBytes(StandardCharsets.US_ASCII));
                        while (in.read(buffer) >= 0) {
                            continue;
                        }
                        System.out.println("fine");
                    } catch (IOException e) {
                        tell("read", e);
                    }
                }
                default -> {
                    boolean fine = write(head + "\r\n") && readOrTell();
                    if (fine && play.equals("call")) {
                        Thread.sleep(pause);
                        fine = write(head + "\r\n") && readOrTell();
                    }
                    if (fine) {
                        System.out.println("fine");
                    }
                }
            }
        } catch (IOException e) {
            tell("close", e);
        }
    }

    static void tell(String call, IOException e) {
        System.out.println(call + ": " + e);
    }

    static boolean write(String text) {
        return write(text.getBytes(StandardCharsets.US_ASCII));
    }

    /** Writes. If that fails, shows what reading says from then on. */
    static boolean write(byte[] data) {
        try {
            out.write(data);
            return true;
        } catch (IOException e) {
            tell("write", e);
        }
        try {
            int n = in.read(buffer);
            String text = n < 0 ? "end of stream" : new String(buffer, 0, n, StandardCharsets.US_ASCII);
            System.out.println("then read: " + text.lines().findFirst().get());
        } catch (IOException e) {
            tell("then read", e);
        }
        return false;
    }

    /** Reads. If nothing comes, shows what writing says from then on. */
    static boolean readOrTell() throws InterruptedException {
        boolean ended = false;
        try {
            if (in.read(buffer) >= 0) {
                return true;
            }
            System.out.println("read: end of stream");
            ended = true;
        } catch (SocketTimeoutException e) {
            tell("read", e);
            return false;
        } catch (IOException e) {
            tell("read", e);
        }
        try {
            byte[] more = new byte[100];
            out.write(more);
            if (ended) { // its answer shows at the next call
                Thread.sleep(500);
                out.write(more);
            }
        } catch (IOException e) {
            tell("then write", e);
        }
        return false;
    }
}

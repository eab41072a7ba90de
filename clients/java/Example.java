import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;

/** A request under a reset, and one behind it. */
public class Example {
    static int ask(int port) throws IOException {
        var c = (java.net.HttpURLConnection) URI.create("http://127.0.0.1:" + port + "/").toURL().openConnection();
        c.setRequestMethod("POST"); // which is not sent twice
        c.setRequestProperty("Connection", "close");
        return c.getResponseCode();
    }

    public static void main(String[] args) throws IOException {
        HttpServer service = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        service.start();
        int port = service.getAddress().getPort();
        try (var faultctl = Faultctl.connect()) {
            try (var fault = faultctl.inject("reset:at=request", "127.0.0.1:" + port)) {
                ask(port);
                throw new AssertionError("the request is not struck");
            } catch (IOException e) {
                System.out.println("under the fault: " + e.getMessage());
            }
            System.out.println("behind it: " + ask(port));
            try (var fault = faultctl.inject("reset", "127.0.0.1:1")) {
                System.out.println("no connection");
            } catch (Faultctl.NeverFired e) {
                System.out.println("a test would fail: " + e.getMessage());
            }
            try (var fault = faultctl.inject("rset", "127.0.0.1:1")) {
                throw new AssertionError("it is not refused");
            } catch (Faultctl.Refused e) {
                System.out.println("about " + e.field + ": " + e.getMessage());
            }
        } finally {
            service.stop(0);
        }
    }
}

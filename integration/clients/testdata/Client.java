import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

/** java.net.http: java Client HOST PORT PLAY PATH PAUSE LIMIT. */
public class Client {
    public static void main(String[] args) throws Exception {
        int pause = (int) (1000 * Double.parseDouble(args[4]));
        Duration limit = Duration.ofSeconds(Long.parseLong(args[5]));
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(limit).build();
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create("http://" + (args[0].contains(":") ? "[" + args[0] + "]" : args[0]) + ":" + args[1] + args[3])).timeout(limit);
        if (args[2].equals("upload")) {
            request.POST(BodyPublishers.ofByteArray(new byte[8 << 20]));
        }
        try {
            for (int tries = args[2].equals("call") ? 2 : 1; tries > 0; tries--) {
                HttpResponse<String> answer = client.send(request.build(), BodyHandlers.ofString());
                if (answer.statusCode() != 200) {
                    System.out.println("HTTP " + answer.statusCode());
                }
                if (tries > 1) {
                    Thread.sleep(pause);
                }
            }
            System.out.println("fine");
        } catch (Exception e) {
            Throwable root = e;
            while (root.getCause() != null) {
                root = root.getCause();
            }
            System.out.println(e + (root.toString().equals(e.toString()) ? "" : ", cause: " + root));
        }
        System.exit(0);
    }
}

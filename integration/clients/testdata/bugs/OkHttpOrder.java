import java.util.concurrent.TimeUnit;
import okhttp3.MediaType;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.RequestBody;
import okhttp3.Response;

/** Two orders by POST on one connection: OkHttpOrder HOST [retryOnConnectionFailure=false]. */
public class OkHttpOrder {
    public static void main(String[] args) throws Exception {
        OkHttpClient.Builder builder = new OkHttpClient.Builder().readTimeout(30, TimeUnit.SECONDS);
        if (args.length > 1 && args[1].equals("retryOnConnectionFailure=false")) {
            builder.retryOnConnectionFailure(false);
        }
        OkHttpClient client = builder.build();
        String url = "http://" + args[0] + "/order/" + System.nanoTime() + "/";
        int status = 0;
        for (int n = 1; n <= 2; n++) {
            RequestBody body = RequestBody.create(MediaType.get("text/plain"), "x");
            try (Response response = client.newCall(new Request.Builder().url(url + n).post(body).build()).execute()) {
                String answer = response.body().string().trim();
                System.out.println(answer);
                if (!answer.endsWith(" 1 times")) {
                    status = 1;
                }
            } catch (java.io.IOException e) {
                System.out.println(e);
                status = 1;
            }
        }
        System.exit(status);
    }
}

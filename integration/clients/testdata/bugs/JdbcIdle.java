import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;

/** A connection that is idle for 4 s, and made anew if it fails: JdbcIdle HOST [SETTING=VALUE]. */
public class JdbcIdle {
    public static void main(String[] args) throws Exception {
        String url = "jdbc:postgresql://" + args[0] + "/postgres?user=postgres&sslmode=disable";
        if (args.length > 1) {
            url += "&" + args[1];
        }
        Connection connection = DriverManager.getConnection(url);
        connection.createStatement().execute("select 1");
        Thread.sleep(4000);
        try {
            connection.createStatement().execute("select 1");
        } catch (SQLException e) {
            System.out.println(e.getMessage());
            connection = DriverManager.getConnection(url);
            connection.createStatement().execute("select 1");
        }
        System.out.println("fine");
    }
}

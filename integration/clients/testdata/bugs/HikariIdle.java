import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;

/** A pooled connection that is idle for 4 s: HikariIdle HOST. */
public class HikariIdle {
    public static void main(String[] args) throws Exception {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl("jdbc:postgresql://" + args[0] + "/postgres?user=postgres&sslmode=disable");
        config.setMaximumPoolSize(1);
        try (HikariDataSource pool = new HikariDataSource(config)) {
            query(pool);
            Thread.sleep(4000);
            query(pool);
            System.out.println("fine");
        }
    }

    private static void query(HikariDataSource pool) throws Exception {
        try (Connection connection = pool.getConnection()) {
            connection.createStatement().execute("select 1");
        }
    }
}

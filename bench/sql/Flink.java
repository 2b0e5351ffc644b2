import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.HashMap;
import java.util.Map;
import java.util.Scanner;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.types.RowKind;
import org.apache.flink.util.CloseableIterator;

/**
 * Runs SQL on a local Flink cluster, at the word of bench/sql/run.py.
 *
 * <p>usage: Flink TABLES.sql STATE_FOLDER. Then, line by line on standard input:
 *
 * <pre>
 *   run FILE     the query into a sink that discards:  "done WALL_SECONDS CPU_SECONDS"
 *   check FILE   the query's rows at the end:          "rows COUNT CHECKSUM"
 * </pre>
 *
 * CPU is that of the whole process. Each query is a cluster of its own with two slots, RocksDB
 * state and checkpoints, as the configuration below says.
 */
public final class Flink {
    private static final int PARALLELISM = 2;

    private final String tables;
    private final String folder;
    private int runs;

    private Flink(String tables, String folder) {
        this.tables = tables;
        this.folder = folder;
    }

    private StreamTableEnvironment environment() {
        Map<String, String> settings = new HashMap<>();
        settings.put("parallelism.default", Integer.toString(PARALLELISM));
        settings.put("taskmanager.numberOfTaskSlots", Integer.toString(PARALLELISM));
        settings.put("taskmanager.memory.managed.size", "1g");
        settings.put("state.backend.type", "rocksdb");
        settings.put("execution.checkpointing.interval", "10 s");
        settings.put("execution.checkpointing.incremental", "true");
        settings.put("execution.checkpointing.dir", "file://" + folder + "/checkpoints");
        settings.put("io.tmp.dirs", folder);
        settings.put("table.local-time-zone", "UTC");
        settings.put("table.optimizer.multiple-input-enabled", "true");
        StreamTableEnvironment env =
            StreamTableEnvironment.create(
                StreamExecutionEnvironment.getExecutionEnvironment(
                    Configuration.fromMap(settings)));
        for (String statement : tables.split(";\\s*\n")) {
            if (!statement.isBlank()) {
                env.executeSql(statement);
            }
        }
        return env;
    }

    private static double cpuSeconds() {
        var bean = (com.sun.management.OperatingSystemMXBean)
            ManagementFactory.getOperatingSystemMXBean();
        return bean.getProcessCpuTime() / 1e9;
    }

    private void run(String query) throws Exception {
        StreamTableEnvironment env = environment();
        String sink = "sink" + runs++;
        var columns = env.sqlQuery(query).getResolvedSchema().getColumns();
        StringBuilder ddl = new StringBuilder("CREATE TABLE " + sink + " (");
        for (int i = 0; i < columns.size(); i++) {
            var type = columns.get(i).getDataType().getLogicalType();
            String text = type.toString().replace("*ROWTIME*", "").replace("*PROCTIME*", "");
            ddl.append(i == 0 ? "" : ", ").append("c").append(i).append(" ")
                .append(text.replace(" NOT NULL", ""));
        }
        env.executeSql(ddl + ") WITH ('connector' = 'blackhole')");
        double before = cpuSeconds();
        long start = System.nanoTime();
        env.executeSql("INSERT INTO " + sink + " " + query).await();
        System.out.printf("done %.3f %.3f%n", (System.nanoTime() - start) / 1e9,
            cpuSeconds() - before);
    }

    private static String cell(Object value) {
        if (value instanceof LocalDateTime time) {
            return time.format(DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss.SSS"));
        }
        if (value instanceof Double number) {
            return String.format("%.6f", number);
        }
        if (value instanceof java.math.BigDecimal number) {
            return number.stripTrailingZeros().toPlainString();
        }
        return value == null ? "NULL" : value.toString();
    }

    private void check(String query) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        long rows = 0;
        long sum = 0;
        TableResult result = environment().executeSql(query);
        try (CloseableIterator<Row> all = result.collect()) {
            while (all.hasNext()) {
                Row row = all.next();
                StringBuilder text = new StringBuilder();
                for (int i = 0; i < row.getArity(); i++) {
                    text.append(i == 0 ? "" : "|").append(cell(row.getField(i)));
                }
                byte[] hash = digest.digest(text.toString().getBytes(StandardCharsets.UTF_8));
                long value = 0;
                for (int i = 0; i < 8; i++) {
                    value = value << 8 | (hash[i] & 0xff);
                }
                boolean comes =
                    row.getKind() == RowKind.INSERT || row.getKind() == RowKind.UPDATE_AFTER;
                rows += comes ? 1 : -1;
                sum += comes ? value : -value;
            }
        }
        System.out.printf("rows %d %s%n", rows, Long.toUnsignedString(sum));
    }

    public static void main(String[] arguments) throws Exception {
        Flink flink = new Flink(Files.readString(Path.of(arguments[0])), arguments[1]);
        System.out.println("ready");
        Scanner in = new Scanner(System.in, StandardCharsets.UTF_8);
        while (in.hasNextLine()) {
            String[] words = in.nextLine().split(" ", 2);
            String query = Files.readString(Path.of(words[1])).trim();
            if (words[0].equals("run")) {
                flink.run(query);
            } else {
                flink.check(query);
            }
        }
    }
}

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Named cases, run one after the other; one line each: "ok NAME" or "FAILED NAME: why". */
final class Cases {
    private static final int CASE_SECONDS_MAX = 60;

    interface Body {
        void run() throws Exception;
    }

    /** What a case found to be wrong. */
    static final class Wrong extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Wrong(String text) {
            super(text);
        }
    }

    private final Map<String, Body> all = new LinkedHashMap<>();
    private final int secondsMax;

    Cases() {
        this(CASE_SECONDS_MAX);
    }

    /** Each case may take so long. */
    Cases(int secondsMax) {
        this.secondsMax = secondsMax;
    }

    void add(String name, Body body) {
        if (all.put(name, body) != null)
            throw new IllegalArgumentException("two cases named " + name);
    }

    /** Runs those whose name contains `only`; the number that failed. */
    int run(String only) {
        int failed = 0;
        // Daemon threads: a case that hangs does not keep the program from ending.
        ExecutorService one = Executors.newCachedThreadPool(r -> {
            Thread t = new Thread(r);
            t.setDaemon(true);
            return t;
        });
        for (Map.Entry<String, Body> c : all.entrySet()) {
            if (!c.getKey().contains(only))
                continue;
            long start = System.nanoTime();
            String why = why(one, c.getValue());
            long ms = (System.nanoTime() - start) / 1_000_000;
            System.out.println(why == null ? "ok " + c.getKey() + " (" + ms + " ms)"
                                           : "FAILED " + c.getKey() + ": " + why);
            System.out.flush();
            failed += why == null ? 0 : 1;
        }
        return failed;
    }

    /** Null when the body returns in time. */
    private String why(ExecutorService one, Body body) {
        Future<?> f = one.submit(() -> {
            body.run();
            return null;
        });
        try {
            f.get(secondsMax, TimeUnit.SECONDS);
            return null;
        } catch (ExecutionException e) {
            e.getCause().printStackTrace();
            return e.getCause().toString().replace('\n', ' ');
        } catch (TimeoutException e) {
            f.cancel(true);
            return "not done after " + secondsMax + " s";
        } catch (InterruptedException e) {
            return "interrupted";
        }
    }

    static void check(boolean condition, String what) {
        if (!condition)
            throw new Wrong(what);
    }

    static void equal(Object expected, Object actual, String what) {
        check(java.util.Objects.equals(expected, actual),
              what + ": expected " + expected + ", got " + actual);
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    /** Asks again every 50 ms, at most `seconds`. */
    static void eventually(String what, int seconds, Condition condition) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!condition.holds()) {
            check(System.nanoTime() < end, what + ": not within " + seconds + " s");
            Thread.sleep(50);
        }
    }

    /** Runs the body, which must fail with this class, itself or as a cause; returns that. */
    static <T extends Throwable> T fails(Class<T> expected, Body body) {
        try {
            body.run();
        } catch (Throwable e) {
            for (Throwable t = e; t != null; t = t.getCause())
                if (expected.isInstance(t))
                    return expected.cast(t);
            throw new Wrong("expected " + expected.getSimpleName() + ", got " + e);
        }
        throw new Wrong("expected " + expected.getSimpleName() + ", but it succeeded");
    }
}

// SPDX-License-Identifier: Apache-2.0
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/**
 * pgjdbc as applications use it: PgJdbc PORT WHO. Jobs until standard input ends;
 * lines and report as harness/client.py reads them.
 */
public class PgJdbc {
	static String url, who;
	static volatile boolean over;
	static final List<String> errors = new ArrayList<>();
	static final Map<String, Integer> jobs = new ConcurrentHashMap<>();
	static final String INSERT = "INSERT INTO facts (who, job, n, t) VALUES (?, ?, ?, ?)";

	interface Round {
		void run(int n) throws Exception;
	}

	static Connection open(String more) throws SQLException {
		return DriverManager.getConnection(url + more, "app", "sesame");
	}

	static void same(Object got, Object want) {
		if (!got.equals(want))
			throw new IllegalStateException("got " + got + ", not " + want);
	}

	static void put(Connection c, String job, int n) throws SQLException {
		try (PreparedStatement s = c.prepareStatement(INSERT)) {
			s.setString(1, who);
			s.setString(2, job);
			s.setInt(3, n);
			s.setString(4, "ä");
			same(s.executeUpdate(), 1);
		}
	}

	static String one(Connection c, String sql) throws SQLException {
		try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
			same(r.next(), true);
			return r.getString(1);
		}
	}

	static synchronized void fail(String job, Throwable e) {
		errors.add(job + ": " + e);
	}

	static Thread job(String name, Round round) {
		jobs.put(name, 0);
		Thread t = new Thread(() -> {
			try {
				for (int n = 1; !over; n++) {
					round.run(n);
					jobs.put(name, n);
					Thread.sleep(1);
				}
			} catch (Throwable e) {
				fail(name, e);
			}
		});
		t.start();
		return t;
	}

	static String quoted(String s) {
		return "\"" + s.replaceAll("[\\\\\"\\p{Cntrl}]", "'") + "\"";
	}

	public static void main(String[] args) throws Exception {
		url = "jdbc:postgresql://127.0.0.1:" + args[0] + "/app";
		who = args[1];
		List<Thread> threads = new ArrayList<>();

		Connection plain = open("?preferQueryMode=simple");
		threads.add(job("simple", n -> {
			put(plain, "simple", n);
			same(one(plain, "SELECT t FROM facts WHERE who = '" + who + "' AND job = 'simple' AND n = " + n), "ä");
		}));
		/* Prepared on the server from the first time on, results in binary. */
		Connection named = open("?prepareThreshold=1&binaryTransfer=true");
		PreparedStatement kept = named.prepareStatement("SELECT ?::bigint + 1");
		threads.add(job("named", n -> {
			kept.setLong(1, n);
			try (ResultSet r = kept.executeQuery()) {
				same(r.next(), true);
				same(r.getLong(1), n + 1L);
			}
			put(named, "named", n);
		}));
		Connection batch = open("?reWriteBatchedInserts=true");
		batch.setAutoCommit(false);
		threads.add(job("batch", n -> {
			try (PreparedStatement s = batch.prepareStatement(INSERT)) {
				for (int i = 0; i < 8; i++) {
					s.setString(1, who);
					s.setString(2, "batch");
					s.setInt(3, 8 * n - 7 + i);
					s.setString(4, null);
					s.addBatch();
				}
				s.executeBatch();
			}
			batch.commit();
		}));
		/* Rows by portals, 20 at a time. */
		Connection rows = open("?defaultRowFetchSize=20");
		rows.setAutoCommit(false);
		threads.add(job("rows", n -> {
			int sum = 0;
			try (Statement s = rows.createStatement(); ResultSet r = s.executeQuery("SELECT generate_series(1, 100)")) {
				while (r.next())
					sum += r.getInt(1);
			}
			same(sum, 5050);
			put(rows, "rows", n);
			rows.commit();
		}));
		Connection failing = open("?autosave=always");
		failing.setAutoCommit(false);
		threads.add(job("failing", n -> {
			put(failing, "failing", n);
			try (Statement s = failing.createStatement()) {
				s.execute("SELECT 1 / 0");
				throw new IllegalStateException("nothing failed");
			} catch (SQLException e) {
				same(e.getSQLState(), "22012");
			}
			if (n % 3 == 0) {
				failing.rollback();
				put(failing, "failing", n);
			}
			failing.commit();
		}));
		Connection copies = open("");
		threads.add(job("copies", n -> {
			PGConnection c = copies.unwrap(PGConnection.class);
			c.getCopyAPI().copyIn("COPY facts FROM STDIN", new StringReader(who + "\tcopies\t" + n + "\tc\n"));
			StringWriter out = new StringWriter();
			c.getCopyAPI().copyOut("COPY (SELECT max(n) FROM facts WHERE who = '" + who + "' AND job = 'copies') TO STDOUT", out);
			same(out.toString(), n + "\n");
		}));
		Connection says = open("");
		Connection hears = open("");
		try (Statement s = hears.createStatement()) {
			s.execute("LISTEN \"" + who + "\"");
		}
		List<String> heard = new ArrayList<>();
		threads.add(job("notify", n -> {
			put(says, "notify", n);
			try (Statement s = says.createStatement()) {
				s.execute("NOTIFY \"" + who + "\", '" + n + "'");
			}
			listen(hears, heard, 1);
		}));

		Thread reader = new Thread(() -> {
			try {
				while (System.in.read() >= 0)
					;
			} catch (java.io.IOException e) {
				fail("input", e);
			}
			over = true;
		});
		reader.setDaemon(true);
		reader.start();
		while (threads.stream().anyMatch(Thread::isAlive)) {
			int ops = jobs.values().stream().mapToInt(x -> x).sum();
			int least = jobs.values().stream().mapToInt(x -> x).min().getAsInt();
			System.out.println("{\"ops\": " + ops + ", \"least\": " + least + "}");
			System.out.flush();
			Thread.sleep(50);
		}
		for (int i = 0; i < 100 && heard.size() < jobs.get("notify"); i++)
			listen(hears, heard, 100);
		if (heard.size() != jobs.get("notify"))
			fail("notify", new IllegalStateException("heard " + heard.size() + " of " + jobs.get("notify")));
		for (int i = 0; i < heard.size(); i++) {
			if (!heard.get(i).equals(String.valueOf(i + 1)) && errors.size() < 20)
				fail("notify", new IllegalStateException("heard " + heard.get(i) + " as number " + (i + 1)));
		}
		report();
	}

	static void listen(Connection c, List<String> heard, int ms) throws SQLException {
		PGNotification[] got = c.unwrap(PGConnection.class).getNotifications(ms);

		for (PGNotification x : got == null ? new PGNotification[0] : got)
			heard.add(x.getParameter());
	}

	static void report() {
		List<String> e = new ArrayList<>(), j = new ArrayList<>(), f = new ArrayList<>();

		for (String x : errors)
			e.add(quoted(x));
		new TreeMap<>(jobs).forEach((name, n) -> {
			int rows = name.equals("batch") ? 8 * n : n;

			j.add(quoted(name) + ": " + n);
			f.add("[\"SELECT count(*) || ' ' || max(n) FROM facts WHERE who = '" + who + "' AND job = '" + name + "'\", \""
				+ rows + " " + rows + "\"]");
		});
		System.out.println("{\"errors\": [" + String.join(", ", e) + "], \"jobs\": {" + String.join(", ", j)
			+ "}, \"facts\": [" + String.join(", ", f) + "]}");
	}
}

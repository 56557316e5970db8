package inbox

import "github.com/openmessaging/openmessaging-go/openmessaging/oms/internal/dialect"

// Ids and groups are compared byte by byte; times are the database's, in
// milliseconds since 1970.
var schema = dialect.Schema{Component: "inbox", Steps: map[dialect.Name][][]string{
	dialect.PostgreSQL: {{
		`CREATE TABLE IF NOT EXISTS oms_inbox (
			consumer_group TEXT COLLATE "C" NOT NULL, message_id TEXT COLLATE "C" NOT NULL, seen_at BIGINT NOT NULL,
			PRIMARY KEY (consumer_group, message_id))`,
		`CREATE INDEX IF NOT EXISTS oms_inbox_seen_at ON oms_inbox (consumer_group, seen_at)`,
	}},
	dialect.MySQL: {{
		`CREATE TABLE IF NOT EXISTS oms_inbox (
			consumer_group VARBINARY(255) NOT NULL, message_id VARBINARY(255) NOT NULL, seen_at BIGINT NOT NULL,
			PRIMARY KEY (consumer_group, message_id), INDEX oms_inbox_seen_at (consumer_group, seen_at)) ENGINE=InnoDB`,
	}},
	dialect.SQLite: {{
		`CREATE TABLE IF NOT EXISTS oms_inbox (
			consumer_group TEXT NOT NULL, message_id TEXT NOT NULL, seen_at INTEGER NOT NULL,
			PRIMARY KEY (consumer_group, message_id)) WITHOUT ROWID`,
		`CREATE INDEX IF NOT EXISTS oms_inbox_seen_at ON oms_inbox (consumer_group, seen_at)`,
	}},
}}

// insertion returns the statement that stores an id unless it is there.
func insertion(d dialect.Name) string {
	values := " INTO oms_inbox (consumer_group, message_id, seen_at) VALUES (?, ?, " + d.Now() + ")"
	if d == dialect.MySQL {
		return "INSERT IGNORE" + values
	}
	return d.Bind("INSERT" + values + " ON CONFLICT DO NOTHING")
}

// removal returns the statement that removes some of a group's ids that are
// older than a number of milliseconds.
func removal(d dialect.Name) string {
	old := "FROM oms_inbox WHERE consumer_group = ? AND seen_at < " + d.Now() + " - ? ORDER BY seen_at LIMIT ?"
	switch d {
	case dialect.PostgreSQL:
		return d.Bind("DELETE FROM oms_inbox WHERE ctid = ANY (ARRAY(SELECT ctid " + old + " FOR UPDATE SKIP LOCKED))")
	case dialect.MySQL:
		return "DELETE " + old
	}
	return "DELETE FROM oms_inbox WHERE (consumer_group, message_id) IN (SELECT consumer_group, message_id " + old + ")"
}

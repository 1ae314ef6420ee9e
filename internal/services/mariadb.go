package services

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
)

// MariaDB starts a MariaDB with a database, a user and a password. Arguments are
// further ones of mariadbd, such as "--max-connections=5".
func MariaDB(t testing.TB, arguments ...string) *SQLServer {
	t.Helper()
	need(t)
	program := install(t, "mariadb")
	port := freePort(t)
	s := &SQLServer{Address: localAddress(port), Certificates: NewCertificates(t), driver: "mysql"}
	s.dsn = func(database string) string {
		return fmt.Sprintf("%s:%s@tcp(%s)/%s", User, Password, s.Address, database)
	}
	s.Instance = Instance{Name: "mariadb", Dir: newDir(t, "mariadb"), t: t, program: program, answers: s.ping}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(s.Dir, "data")
	// A MariaDB that starts removes what another has of temporary tables in the same folder.
	scratch := filepath.Join(s.Dir, "tmp")
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	initialise := exec.Command("mariadb-install-db", "--no-defaults", "--datadir="+data, "--user="+me.Username,
		"--tmpdir="+scratch, "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M")
	if out, err := initialise.CombinedOutput(); err != nil {
		t.Fatalf("mariadb-install-db: %v\n%s", err, tail(string(out)))
	}
	first := filepath.Join(s.Dir, "first.sql")
	write(t, first, fmt.Sprintf("CREATE DATABASE %s;\nCREATE USER '%s'@'%%' IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO '%s'@'%%' WITH GRANT OPTION;\n",
		User, User, Password, User))
	s.args = append([]string{
		"--no-defaults", "--datadir=" + data, "--user=" + me.Username, "--socket=" + filepath.Join(s.Dir, "socket"),
		"--tmpdir=" + scratch, "--port=" + strconv.Itoa(port), "--bind-address=127.0.0.1", "--skip-name-resolve",
		"--ssl-ca=" + s.CAFile, "--ssl-cert=" + s.ServerCertFile, "--ssl-key=" + s.ServerKeyFile,
		// Written at each commit and synced each second: what kill -9 cannot take away.
		"--innodb-flush-log-at-trx-commit=2", "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M",
		"--performance-schema=OFF", "--init-file=" + first,
	}, arguments...)
	s.begin()
	// The user is made once: what a test does to it stays.
	if err := os.Truncate(first, 0); err != nil {
		t.Fatal(err)
	}
	return s
}

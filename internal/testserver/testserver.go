// Package testserver tells test suites which real servers they run against.
//
// Every suite runs on the embedded emulator and the in-process Redis. Where one
// of these environment variables is set, the suite runs once more on that
// server:
//
//	WAYBILL_TEST_REDIS       host:port of a redis-server
//	WAYBILL_TEST_LOCALSTACK  http://host:port of LocalStack, serving SQS and SNS
//	WAYBILL_TEST_ELASTICMQ   http://host:port of ElasticMQ, serving SQS
//	WAYBILL_TEST_MOTO        http://host:port of moto, serving SQS and SNS
//	WAYBILL_TEST_POSTGRES    postgres://user@host:port/database of PostgreSQL
//	WAYBILL_TEST_MYSQL       user@tcp(host:port)/database of MySQL or MariaDB
//
// WAYBILL_TEST_PYTHON and WAYBILL_TEST_AWSCLI name no servers, but programs that are
// clients: see [Python] and [AWSCLI].
//
// An unset variable leaves its server out, so that `go test ./...` passes on a
// machine that has only Go. With CI=true an unset variable fails the test
// instead, so that a suite cannot quietly stop covering a server. A value that
// is not an address fails the test in either case.
//
// `make servers` starts them all and prints the variables. This package is the
// only one that reads them.
//
// Suites share the servers, and run in parallel. Names of queues, topics and
// tables, and keys, start with [Namespace], so that no test sees another's data. A
// test must not flush a Redis or purge what it did not make.
package testserver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The environment variables, one a server.
const (
	RedisEnv      = "WAYBILL_TEST_REDIS"
	LocalStackEnv = "WAYBILL_TEST_LOCALSTACK"
	ElasticMQEnv  = "WAYBILL_TEST_ELASTICMQ"
	MotoEnv       = "WAYBILL_TEST_MOTO"
	PostgresEnv   = "WAYBILL_TEST_POSTGRES"
	MySQLEnv      = "WAYBILL_TEST_MYSQL"
)

// Redis returns the host:port of the redis-server under test. It runs with
// maxmemory-policy noeviction, and keeps nothing on disk: a test that needs
// the append-only file starts a server of its own.
func Redis(t testing.TB) (addr string, ok bool) {
	t.Helper()
	return server(t, RedisEnv, "127.0.0.1:6379", parseHostPort)
}

// LocalStack returns the URL of LocalStack, without a trailing slash.
func LocalStack(t testing.TB) (endpoint string, ok bool) {
	t.Helper()
	return server(t, LocalStackEnv, "http://127.0.0.1:4566", parseURL)
}

// ElasticMQ returns the URL of ElasticMQ, without a trailing slash.
func ElasticMQ(t testing.TB) (endpoint string, ok bool) {
	t.Helper()
	return server(t, ElasticMQEnv, "http://127.0.0.1:9324", parseURL)
}

// Moto returns the URL of moto, without a trailing slash.
func Moto(t testing.TB) (endpoint string, ok bool) {
	t.Helper()
	return server(t, MotoEnv, "http://127.0.0.1:5000", parseURL)
}

// Postgres returns the URL of a database in PostgreSQL, for a user who may make
// tables in it. Its password, if any, is in the URL.
func Postgres(t testing.TB) (url string, ok bool) {
	t.Helper()
	return server(t, PostgresEnv, "postgres://postgres@127.0.0.1:5432/postgres", parseDatabaseURL)
}

// MySQL returns the same of MySQL or MariaDB, as a data source name of
// github.com/go-sql-driver/mysql.
func MySQL(t testing.TB) (dsn string, ok bool) {
	t.Helper()
	return server(t, MySQLEnv, "root@tcp(127.0.0.1:3306)/test", parseMySQL)
}

// Namespace returns a new prefix for the names and keys of one test: eleven
// lower-case letters and digits that start with a letter, and so are valid in
// the names of queues and topics and in Redis keys. It is random, so runs that
// share a server do not meet either. The test's log records it.
func Namespace(t testing.TB) string {
	t.Helper()
	ns := "t" + strings.ToLower(rand.Text()[:10])
	t.Logf("testserver: namespace %s", ns)
	return ns
}

func server(t testing.TB, name, example string, parse func(string) (string, error)) (string, bool) {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("testserver: %s is not set, and CI=true requires every server; set it as in %s=%s (`make servers` starts them all)", name, name, example)
		}
		return "", false
	}
	addr, err := parse(value)
	if err != nil {
		shown := value[strings.LastIndexByte(value, '@')+1:] // without the password
		t.Fatalf("testserver: %s=...%q: %v; set it as in %s=%s", name, shown, err, name, example)
	}
	return addr, true
}

func parseHostPort(value string) (string, error) {
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		return "", err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || host == "" {
		return "", fmt.Errorf("want a host and a port number")
	}
	return value, nil
}

func parseURL(value string) (string, error) {
	u, err := url.Parse(value)
	if err != nil {
		return "", err
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("want a URL with the scheme http or https")
	}
	if u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", fmt.Errorf("want a URL of a host and a port alone")
	}
	return u.Scheme + "://" + u.Host, nil
}

func parseDatabaseURL(value string) (string, error) {
	u, err := url.Parse(value)
	if err != nil {
		return "", errors.New("want a URL") // the parser's error may hold a password
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", errors.New("want a URL with the scheme postgres")
	}
	if u.Port() == "" || u.Hostname() == "" || u.User.Username() == "" || strings.Trim(u.Path, "/") == "" {
		return "", errors.New("want a URL of a user, a host, a port and a database")
	}
	return strings.TrimRight(value, "/"), nil
}

var mysqlRule = regexp.MustCompile(`^[^@]+@tcp\([^():]+:[0-9]+\)/[A-Za-z0-9_]+$`)

func parseMySQL(value string) (string, error) {
	if !mysqlRule.MatchString(value) {
		return "", errors.New("want a user, a host, a port and a database, and no options")
	}
	return value, nil
}

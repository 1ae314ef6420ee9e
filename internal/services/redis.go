package services

import (
	"context"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// RedisServer is a redis-server that keeps nothing on disk unless its arguments
// say so: killed and started again it is empty.
type RedisServer struct {
	Instance
	Address    string // HOST:PORT without TLS
	TLSAddress string // HOST:PORT with TLS; a client's certificate is asked for, and not needed
	Certificates
}

// Redis starts a Redis. Arguments are further ones of redis-server, such as
// "--requirepass", "secret" or "--appendonly", "yes".
func Redis(t testing.TB, arguments ...string) *RedisServer {
	t.Helper()
	need(t)
	program := install(t, "redis")
	port, secure := freePort(t), freePort(t)
	certificates := NewCertificates(t)
	s := &RedisServer{Address: localAddress(port), TLSAddress: localAddress(secure), Certificates: certificates}
	s.Instance = Instance{Name: "redis", Dir: newDir(t, "redis"), t: t, program: program, answers: s.ping}
	s.args = append([]string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", s.Dir,
		"--tls-port", strconv.Itoa(secure), "--tls-ca-cert-file", certificates.CAFile, "--tls-auth-clients", "optional",
		"--tls-cert-file", certificates.ServerCertFile, "--tls-key-file", certificates.ServerKeyFile,
		"--save", "", "--appendonly", "no", "--enable-debug-command", "yes",
	}, arguments...)
	s.begin()
	return s
}

// ping succeeds also if the server wants a password: then it answers.
func (s *RedisServer) ping(ctx context.Context) error {
	c := redis.NewClient(&redis.Options{Addr: s.Address, MaxRetries: -1})
	defer func() { _ = c.Close() }()
	err := c.Ping(ctx).Err()
	if redis.HasErrorPrefix(err, "NOAUTH") {
		return nil
	}
	return err
}

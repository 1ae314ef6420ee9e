// Package redistest is what tests of views in Redis need besides a server of
// package services: commands, and a cluster.
package redistest

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"millrace/internal/services"
)

// Server is a redis-server process, which keeps nothing on disk unless it is
// asked to.
type Server struct {
	*services.RedisServer
	t testing.TB
}

// Start starts a server, with more arguments in the form of its command line.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return &Server{services.Redis(t, args...), t}
}

// Do sends a command to a server.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Address, MaxRetries: -1})
	defer func() { _ = c.Close() }()
	v, err := c.Do(context.Background(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// clusterTimeout is how long a cluster has to come up.
const clusterTimeout = 30 * time.Second

// Cluster starts a cluster of three nodes.
func Cluster(t testing.TB) []*Server {
	t.Helper()
	var nodes []*Server
	args := []string{"--cluster", "create"}
	for range 3 {
		s := Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
		nodes = append(nodes, s)
		args = append(args, s.Address)
	}
	out, err := exec.Command("redis-cli", append(args, "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("create the cluster: %v\n%s", err, out)
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		whole := 0
		for _, s := range nodes {
			if text, _ := s.Do("CLUSTER", "INFO").(string); strings.Contains(text, "cluster_state:ok") {
				whole++
			}
		}
		if whole == len(nodes) {
			return nodes
		}
		if time.Since(began) > clusterTimeout {
			t.Fatal("the cluster does not come up")
		}
	}
}

package opener_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/catalog"
	"millrace/catalog/catalogtest"
	"millrace/catalog/database"
	"millrace/catalog/databasetest"
	"millrace/catalog/opener"
	"millrace/catalog/sqlstore"
	"millrace/event"
	"millrace/internal/services"
)

func TestFollow(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		catalogtest.RunFollow(t, func(t *testing.T) *sqlstore.Store { return open(t, s.New(t)) })
	})
}

func TestShare(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		catalogtest.RunShare(t, func(t *testing.T) func() *sqlstore.Store {
			c := s.New(t)
			return func() *sqlstore.Store { return open(t, c) }
		})
	})
}

// load is the changes of a block of a long run.
func load(block uint64) []event.Change {
	random := rand.New(rand.NewPCG(1, block))
	var changes []event.Change
	for range 200 {
		id := fmt.Sprint(random.IntN(3000))
		switch random.IntN(6) {
		case 0:
			changes = append(changes, event.Change{Kind: event.DeleteItem, Item: &event.Item{ID: id}})
		case 1:
			changes = append(changes, event.Change{Kind: event.EnsureUser, User: &event.User{ID: id}})
		case 2:
			changes = append(changes, event.Change{Kind: event.PutUser, User: &event.User{ID: id, Age: int(block % 100)}})
		default:
			changes = append(changes, event.Change{Kind: event.PutItem, Item: &event.Item{ID: id, Title: fmt.Sprint("of ", block)}})
		}
	}
	return changes
}

// TestKilled kills the server again and again while blocks are applied, as the
// engine applies them: each until it succeeds. Nothing is lost or applied
// twice, in the tables or for a follower.
func TestKilled(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		c := s.New(t)
		c.Timeout, c.ConnectTimeout = time.Second, time.Second
		store, follows := open(t, c), catalog.NewIndex()
		defer store.Close()
		follower := store.Follow(follows, sqlstore.FollowOptions{Interval: 5 * time.Millisecond})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { follower.Run(ctx) })
		const kills = 4
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			for n := range kills {
				time.Sleep(time.Duration(150+50*n) * time.Millisecond)
				if n == 1 { // a server that hangs
					s.Pause()
					time.Sleep(1500 * time.Millisecond)
					s.Resume()
					continue
				}
				s.Kill()
				s.Start()
			}
		}()
		var model catalogtest.Model
		index, failures := catalog.NewIndex(), 0
		block := uint64(0)
		for done := false; !done; {
			select {
			case <-killed:
				done = true
			default:
			}
			block++
			changes := load(block)
			for store.Apply(t.Context(), block, changes) != nil {
				failures++
				time.Sleep(10 * time.Millisecond)
			}
			model.Apply(block, changes)
			for _, change := range changes {
				index.Apply(change)
			}
		}
		if got, err := catalogtest.Read(t.Context(), store); err != nil || got != model.String() {
			t.Errorf("after %d blocks and %d kills the tables are not what was applied, %v", block, kills, err)
		}
		if failures == 0 {
			t.Error("no kill was noticed")
		}
		t.Logf("%d blocks, %d tries failed", block, failures)
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if at, _ := follower.Block(); at == block && follower.Err() == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the follower does not catch up")
			}
		}
		cancel()
		running.Wait()
		if text(follows) != text(index) {
			t.Error("the follower is not at what was applied")
		}
	})
}

func text(x *catalog.Index) string {
	var b strings.Builder
	for item := range x.Items() {
		b.WriteString(catalogtest.ItemText(item) + "\n")
	}
	for user := range x.Users() {
		b.WriteString(catalogtest.UserText(user) + "\n")
	}
	return b.String()
}

// TestDeadlocks has other programs lock rows the other way round: the block is
// applied all the same, without its caller knowing.
func TestDeadlocks(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		c := s.New(t)
		store, other := open(t, c), databasetest.Open(t, c)
		defer store.Close()
		put := event.Change{Kind: event.PutItem, Item: &event.Item{ID: "x"}}
		if err := store.Apply(t.Context(), 1, []event.Change{put}); err != nil {
			t.Fatal(err)
		}
		var applying sync.WaitGroup
		for block := uint64(2); block < 12; block++ {
			tx, err := other.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			// Many rows: MySQL gives up the transaction that has written fewer.
			for n := range 20 {
				if _, err := tx.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO deleted_users (id, changed, deleted_at) VALUES ('%d-%d', 0, 0)", block, n)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := tx.ExecContext(t.Context(), "UPDATE items SET title = 'locked' WHERE id = 'x'"); err != nil {
				t.Fatal(err)
			}
			applying.Go(func() {
				if err := store.Apply(t.Context(), block, []event.Change{put}); err != nil {
					t.Errorf("block %d: %v", block, err)
				}
			})
			time.Sleep(30 * time.Millisecond)
			_, err = tx.ExecContext(t.Context(), "UPDATE applied SET pruned = 0")
			if err == nil {
				err = tx.Commit()
			}
			if err != nil {
				_ = tx.Rollback() // it was the one that was given up
			}
			applying.Wait()
		}
		if at, err := store.Applied(t.Context()); err != nil || at != 11 {
			t.Errorf("the last block is %d, %v", at, err)
		}
	})
}

// TestOwner has two data directories meet in one database.
func TestOwner(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		c, ctx := s.New(t), t.Context()
		first, second := open(t, c), open(t, c)
		defer first.Close()
		defer second.Close()
		put := []event.Change{{Kind: event.PutItem, Item: &event.Item{ID: "x", Title: "first's"}}}
		if err := errors.Join(first.Claim(ctx, "first", false), first.Apply(ctx, 5, put), first.Claim(ctx, "first", false)); err != nil {
			t.Fatal(err)
		}
		if err := second.Claim(ctx, "second", false); !errors.Is(err, sqlstore.ErrOwner) {
			t.Fatalf("another's database was claimed: %v", err)
		}
		if err := second.Claim(ctx, "second", true); err != nil {
			t.Fatal(err)
		}
		if got, err := catalogtest.Read(ctx, second); err != nil || got != "applied 0\n" {
			t.Errorf("after it was taken over the database holds %q, %v", got, err)
		}
		if err := first.Apply(ctx, 6, put); !errors.Is(err, sqlstore.ErrOwner) {
			t.Errorf("the one that it was taken from still writes: %v", err)
		}
		if err := second.Apply(ctx, 1, put); err != nil {
			t.Error(err)
		}
	})
}

// dsn is a URL of a database.
func dsn(driver, user, address, name, query string) database.Secret {
	return database.Secret(map[string]string{database.MySQL: "mysql", database.PostgreSQL: "postgres"}[driver] + "://" + user + "@" + address + "/" + name + query)
}

// TestDiagnosis makes settings wrong, one by one, and reads what is said.
func TestDiagnosis(t *testing.T) {
	t.Parallel()
	for driver, other := range map[string]string{database.MySQL: database.PostgreSQL, database.PostgreSQL: database.MySQL} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			s, wrong := databasetest.StartPlain(t, driver), databasetest.Start(t, other)
			const root = services.User + ":" + services.Password
			good := s.New(t)
			good.ConnectTimeout, good.Timeout = 2*time.Second, 2*time.Second
			for _, tt := range []struct {
				name string
				dsn  database.Secret
				want string
			}{
				{"refused", dsn(driver, root, "127.0.0.1:1", "millrace", ""), "127.0.0.1:1 refuses connections"},
				{"no host", dsn(driver, root, "nowhere.invalid:3306", "millrace", ""), "nowhere.invalid"},
				{"another server", dsn(driver, root, wrong.Address, "millrace", ""), "check the port in catalog.dsn"},
				{"no database", dsn(driver, root, s.Address, "missing", ""), "there is no database missing: CREATE DATABASE"},
				{"wrong password", dsn(driver, services.User+":wrong-one", s.Address, "millrace", ""), "refuses user millrace: the password is wrong"},
				{"no TLS there", "", "does not offer TLS: set catalog.tls.enabled to false"},
			} {
				t.Run(tt.name, func(t *testing.T) {
					c := good
					if c.DSN = tt.dsn; c.DSN == "" {
						c.DSN, c.TLS.Enabled = good.DSN, true
					}
					c.Timeout = time.Minute // which a connection does not wait for
					began := time.Now()
					_, err := opener.Diagnose(t.Context(), "catalog", c)
					if took := time.Since(began); took > 30*time.Second {
						t.Errorf("it took %s", took)
					}
					var d *database.Diagnosis
					if !errors.As(err, &d) || !strings.Contains(err.Error(), tt.want) {
						t.Errorf("it says %v\nexpected words with %q", err, tt.want)
					}
					if _, err := opener.Open(t.Context(), c, ""); !errors.As(err, &d) || strings.Contains(fmt.Sprintf("%v %+v", err, c), "wrong-one") {
						t.Errorf("opening it says %v", err)
					}
				})
			}
			t.Run("hangs", func(t *testing.T) {
				s.Pause()
				defer s.Resume()
				if _, err := opener.Diagnose(t.Context(), "catalog", good); err == nil || !strings.Contains(err.Error(), "does not answer in time") {
					t.Errorf("it says %v", err)
				}
			})
			if notes, err := opener.Diagnose(t.Context(), "catalog", good); err != nil || len(notes) == 0 || !strings.HasPrefix(notes[0], "version 1") {
				t.Errorf("of a good one it says %q, %v", notes, err)
			}
		})
	}
}

// TestTLS reaches servers with TLS, and reads what is said where the settings do
// not fit them.
func TestTLS(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, s *databasetest.Server) {
		s.OnlyTLS(t, "careful", "a-password")
		good := s.New(t)
		good.TLS = database.TLS{Enabled: true, CAFile: s.CAFile}
		if err := open(t, good).Close(); err != nil {
			t.Fatal(err)
		}
		for want, change := range map[string]func(*database.Config){
			"is signed by nobody that is trusted": func(c *database.Config) { c.TLS.CAFile = "" },
			"is not for that name":                func(c *database.Config) { c.TLS.ServerName = "another.example" },
			"set catalog.tls.enabled": func(c *database.Config) {
				c.DSN, c.TLS = dsn(s.Driver, "careful:a-password", s.Address, "millrace", plain[s.Driver]), database.TLS{}
			},
		} {
			c := good
			change(&c)
			if _, err := opener.Diagnose(t.Context(), "catalog", c); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("it says %v\nexpected words with %q", err, want)
			}
		}
	})
}

// plain is how a DSN says that TLS is not even tried.
var plain = map[string]string{database.PostgreSQL: "?sslmode=disable"}

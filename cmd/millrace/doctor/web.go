package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"millrace/internal/schemaregistry"
)

// Flink checks the REST interface of a cluster.
func Flink(address string) Check {
	return func(ctx context.Context) []Finding {
		s := scribe{system: "flink"}
		var overview struct {
			TaskManagers *int   `json:"taskmanagers"`
			Slots        int    `json:"slots-total"`
			Free         int    `json:"slots-available"`
			Version      string `json:"flink-version"`
		}
		base := strings.TrimSuffix(address, "/")
		err := s.fetch(ctx, base+"/overview", address, &overview)
		switch {
		case err != nil:
			s.say(Failed, address, "%s", webWords(err, "--flink"))
		case overview.TaskManagers == nil:
			s.say(Failed, address, "what answers there is no Flink: give the address of the REST interface, port 8081 by default")
		case !strings.HasPrefix(overview.Version, "2.2."):
			s.say(Warning, address, "Flink is %s: the job is built for and tested with 2.2", overview.Version)
		case *overview.TaskManagers == 0 || overview.Slots == 0:
			s.say(Failed, address, "no TaskManager offers a slot: start one, or see its log for why it can not reach the JobManager")
		case overview.Free == 0:
			s.say(Warning, address, "all %d slots are taken: a job would wait; stop another, or start a TaskManager", overview.Slots)
		default:
			s.say(OK, address, "Flink %s, %d TaskManagers, %d of %d slots are free", overview.Version, *overview.TaskManagers, overview.Free, overview.Slots)
		}
		return s.list
	}
}

// Registry checks each server of a schema registry.
func Registry(c schemaregistry.Config) Check {
	return func(ctx context.Context) []Finding {
		s := scribe{system: "schema registry"}
		for _, address := range c.URLs {
			one := c.WithDefaults()
			one.URLs = []string{address}
			client, err := schemaregistry.New(one, slog.New(slog.DiscardHandler))
			if err == nil {
				err = client.Check(ctx)
				client.Close()
			}
			if err != nil {
				s.say(Failed, address, "%s", webWords(err, "kafka.schema_registry.urls"))
			} else {
				s.say(OK, address, "answers")
			}
		}
		return s.list
	}
}

// errNoJSON: the answer is not what was asked for.
var errNoJSON = errors.New("the answer is no JSON")

// fetch reads a page's JSON, and compares the clock in the answer's header.
func (s *scribe) fetch(ctx context.Context, page, subject string, answer any) error {
	before := time.Now()
	response, err := get(ctx, page)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if theirs, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		// The header has no fractions of a second.
		s.clock(subject, theirs, before.Add(-time.Second), time.Now())
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s", errNoJSON, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("%w: %w", errNoJSON, err)
	}
	return nil
}

// webWords say what an error of a web request means; setting is where the address is given.
func webWords(err error, setting string) string {
	var name *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("there is no host %s: correct %s", name.Name, setting)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "it refuses connections: nothing runs there, or it listens on another address or port"
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return "it does not answer in time: a firewall, a server that hangs, or a wrong address in " + setting
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "it does not speak TLS on that port: begin the address in " + setting + " with http://"
	case errors.Is(err, errNoJSON):
		return fmt.Sprintf("what answers there is something else (%v): check the address in %s", err, setting)
	}
	return err.Error()
}

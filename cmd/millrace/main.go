// Command millrace is the whole system in one binary: the server, the
// importers, the traffic generator and the checks. It is the only place where
// the parts are wired together.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"millrace/cmd/millrace/doctor"
	"millrace/cmd/millrace/export"
	"millrace/cmd/millrace/job"
	"millrace/cmd/millrace/worker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	var exit exitCode
	switch {
	case err == nil:
	case errors.As(err, &exit):
		os.Exit(int(exit))
	default:
		fmt.Fprintln(os.Stderr, "millrace:", message(err))
		os.Exit(1)
	}
}

// exitCode is the error of a command that has said what it had to say.
type exitCode int

// Error names the code; main prints nothing of it.
func (e exitCode) Error() string { return fmt.Sprint("exit ", int(e)) }

// message is an error as people are told of it, in one line: what is wrong and,
// where the command knows, what to do.
func message(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if strings.HasPrefix(line, "goroutine ") {
			break // the stack of an operator that panicked, for the server's log
		}
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "millrace",
		Short:         "A real-time recommender: events in, fresh recommendations out",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	profileCPU(root)
	root.PersistentFlags().String("log-level", "info", "debug, info, warn or error; logs go to standard error")
	root.AddCommand(newServe(), newDemo(), newReplay(), newGenerate(), newVerify(), newSavepoint(), newCheckpoints(), newCollect(), export.New(exporting()), job.New(newLogger), worker.New(newLogger, workerWiring()), doctor.New(examined), newVersion())
	for _, c := range root.Commands() {
		if c.Args == nil { // of a package that can not know how it is said
			c.Args = noArguments
		}
	}
	return root
}

// examined is what the doctor looks at.
func examined(path string) (doctor.Settings, error) {
	c, err := loadConfig(path)
	return doctor.Settings{
		Data: c.Data, Listen: c.Listen, Store: c.CheckpointStore, Kafka: c.Kafka, Publish: c.Publish, Redis: c.Redis, Catalog: c.Catalog, Import: c.Import, Likes: c.Likes,
	}, err
}

// noCommand refuses arguments of the root: they are commands that do not exist.
func noCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2
	near := ""
	if list := c.SuggestionsFor(args[0]); len(list) > 0 {
		near = ": did you mean " + strings.Join(list, " or ") + "?"
	}
	return fmt.Errorf("there is no command %q%s; see %s --help", args[0], near, c.CommandPath())
}

// noArguments refuses the arguments of a command that has only flags.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes flags only, got %q; see %s --help", c.Name(), args[0], c.CommandPath())
}

// flagError says what a flag is to be, in place of what the parser met.
func flagError(c *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		want := bad.GetFlag().Value.Type()
		if words, ok := flagTypes[want]; ok {
			want = words
		}
		err = fmt.Errorf("--%s %q: want %s", bad.GetFlag().Name, bad.GetValue(), want)
	}
	return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
}

// flagTypes are the types of flags in words.
var flagTypes = map[string]string{
	"bool": "true or false", "float64": "a number", "int": "a whole number", "uint64": "a whole number, 0 or more",
	"stringToString": "NAME=VALUE, with commas between several", "stringToInt": "NAME=NUMBER, with commas between several",
	"duration": "a duration such as 10s", "bytes": "a size such as 512MiB or 1GiB",
}

// profileCPU adds --cpuprofile, which writes a profile of the whole command for
// `go tool pprof`.
func profileCPU(root *cobra.Command) {
	path := root.PersistentFlags().String("cpuprofile", "", "write a CPU profile to this file")
	var out *os.File
	root.PersistentPreRunE = func(*cobra.Command, []string) (err error) {
		if *path == "" {
			return nil
		}
		if out, err = os.Create(*path); err != nil {
			return fmt.Errorf("--cpuprofile: %w", err)
		}
		return pprof.StartCPUProfile(out)
	}
	root.PersistentPostRunE = func(*cobra.Command, []string) error {
		if out == nil {
			return nil
		}
		pprof.StopCPUProfile()
		return out.Close()
	}
}

// versionResult is what millrace version --json prints: what the build
// recorded.
type versionResult struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source, in its version control
	Modified bool   `json:"modified,omitempty"` // the source was not as that revision has it
	Time     string `json:"time,omitempty"`     // of the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Say which version this is, of which source, built by which Go",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			info, _ := debug.ReadBuildInfo()
			result := describeBuild(info)
			if asJSON {
				return printJSON(c.OutOrStdout(), result)
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), result)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as one JSON line")
	return c
}

// describeBuild reads what the build recorded, which is nil where it recorded
// nothing.
func describeBuild(info *debug.BuildInfo) versionResult {
	r := versionResult{Version: "0.1.0-dev", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return r
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		r.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			r.Revision = s.Value
		case "vcs.modified":
			r.Modified = s.Value == "true"
		case "vcs.time":
			r.Time = s.Value
		}
	}
	return r
}

// String is the version in one line.
func (r versionResult) String() string {
	text := "millrace " + r.Version
	if r.Revision != "" {
		text += ", revision " + r.Revision
		if r.Modified {
			text += " with changes"
		}
		if r.Time != "" {
			text += " of " + r.Time
		}
	}
	return text + ", " + r.Go + " " + r.Platform
}

// version is the module's version as the build recorded it.
func version() string {
	info, _ := debug.ReadBuildInfo()
	return describeBuild(info).Version
}

// newLogger logs to the command's standard error at the level it was given.
func newLogger(c *cobra.Command) (*slog.Logger, error) {
	name, err := c.Flags().GetString("log-level")
	if err != nil {
		return nil, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", name)
	}
	return slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}

// printJSON writes a command's result as one line.
func printJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

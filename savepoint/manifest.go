package savepoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"millrace/event"
	"millrace/state"
)

// Kind says what a stored state is for.
type Kind string

// The kinds.
const (
	// Savepoint was asked for, and stays until it is disposed of.
	Savepoint Kind = "savepoint"
	// Checkpoint is a copy of a periodic one; Retain removes old ones.
	Checkpoint Kind = "checkpoint"
)

// formatVersion is the version of the manifest, and of what it says of the
// files. It is raised when an older release would misread it.
const formatVersion = 1

// Contents is what is said of a stored state: of which moment it is, and what
// it needs of the release that it is restored with.
type Contents struct {
	Block     uint64     // the last block whose events are in the state
	BlockTime event.Time // that block's, by which its log is known again
	// StreamTime and Watermark are MinTime where there is none.
	StreamTime event.Time
	Watermark  event.Time
	Events     uint64 // that count
	Release    string // that made it
	Config     []byte // the configuration record, which is in the state too
	Stages     []Stage
}

// Stage is what a stored state holds of a stage.
type Stage struct {
	Name    string `json:"name"`
	Version uint8  `json:"state_version"` // the newest of any key
	Keys    uint64 `json:"keys"`
	Bytes   uint64 `json:"bytes"` // of keys and values
}

// File is one file of a stored state.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // of its content, under which it is stored
}

// Manifest is what is known of a stored state. Its files and this are all of
// it: there is nothing else to keep.
type Manifest struct {
	ID      string
	Kind    Kind
	Created time.Time
	Contents
	Files []File
}

// Bytes is how much the files have together.
func (m *Manifest) Bytes() int64 {
	n := int64(0)
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// record is a manifest as it is written.
type record struct {
	Format      int             `json:"format"`
	ID          string          `json:"id"`
	Kind        Kind            `json:"kind"`
	Created     time.Time       `json:"created"`
	Release     string          `json:"release"`
	Block       uint64          `json:"block"`
	BlockTimeMs int64           `json:"block_time_ms"`
	StreamTime  *int64          `json:"stream_time_ms,omitempty"`
	Watermark   *int64          `json:"watermark_ms,omitempty"`
	Events      uint64          `json:"events"`
	Config      json.RawMessage `json:"configuration,omitempty"`
	Stages      []Stage         `json:"stages"`
	Files       []File          `json:"files"`
}

// envelope is around it. The checksum is that of the bytes of the manifest as
// they stand in the file.
type envelope struct {
	SHA256   string          `json:"sha256"`
	Manifest json.RawMessage `json:"manifest"`
}

func (m *Manifest) encode() ([]byte, error) {
	r := record{
		Format: formatVersion, ID: m.ID, Kind: m.Kind, Created: m.Created, Release: m.Release, Block: m.Block,
		BlockTimeMs: int64(m.BlockTime), StreamTime: optional(m.StreamTime), Watermark: optional(m.Watermark),
		Events: m.Events, Config: m.Config, Stages: m.Stages, Files: m.Files,
	}
	inner, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return nil, fmt.Errorf("write the manifest of %s: %w", m.ID, err)
	}
	sum := sha256.Sum256(inner)
	return fmt.Appendf(nil, "{\"sha256\":%q,\n\"manifest\":%s}\n", hex.EncodeToString(sum[:]), inner), nil
}

func optional(t event.Time) *int64 {
	if t == event.MinTime {
		return nil
	}
	ms := int64(t)
	return &ms
}

func orNone(ms *int64) event.Time {
	if ms == nil {
		return event.MinTime
	}
	return event.Time(*ms)
}

// decode reads the manifest that is stored for an id. The errors are
// state.ErrCorrupt and state.ErrNewer.
func decode(data []byte, kind Kind, id string) (*Manifest, error) {
	damaged := func(format string, args ...any) error {
		return fmt.Errorf("manifest of %s: %w: %w", id, state.ErrCorrupt, fmt.Errorf(format, args...))
	}
	var e envelope
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&e); err != nil {
		return nil, damaged("%w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, damaged("there is something after it")
	}
	if sum := sha256.Sum256(e.Manifest); e.SHA256 != hex.EncodeToString(sum[:]) {
		return nil, damaged("its checksum does not match")
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(e.Manifest, &version); err != nil {
		return nil, damaged("%w", err)
	}
	if version.Format > formatVersion {
		return nil, fmt.Errorf("manifest of %s has format %d, this release reads %d: %w", id, version.Format, formatVersion, state.ErrNewer)
	}
	var r record
	if err := json.Unmarshal(e.Manifest, &r); err != nil {
		return nil, damaged("%w", err)
	}
	if r.ID != id || r.Kind != kind || r.Format < 1 {
		return nil, damaged("it is that of %s %q, format %d", r.Kind, r.ID, r.Format)
	}
	for _, f := range r.Files {
		if err := f.check(); err != nil {
			return nil, damaged("%w", err)
		}
	}
	return &Manifest{
		ID: r.ID, Kind: r.Kind, Created: r.Created, Files: r.Files, Contents: Contents{
			Block: r.Block, BlockTime: event.Time(r.BlockTimeMs), StreamTime: orNone(r.StreamTime), Watermark: orNone(r.Watermark),
			Events: r.Events, Release: r.Release, Config: r.Config, Stages: r.Stages,
		},
	}, nil
}

var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// check refuses what can not be a file of a state: above all a name that would
// leave the directory that it is written to.
func (f File) check() error {
	sum, err := hex.DecodeString(f.SHA256)
	if err != nil || len(sum) != sha256.Size || f.SHA256 != strings.ToLower(f.SHA256) || f.Size < 0 || !fileName.MatchString(f.Name) {
		return fmt.Errorf("not a file: %q with %d bytes and checksum %q", f.Name, f.Size, f.SHA256)
	}
	return nil
}

// CheckStages says whether a program can take over stored state: the stages
// that it holds and those of the program, which say what version they write.
//
//   - A stage of the program that the state does not have begins empty.
//   - State of a stage that the program does not have would be lost, so it is
//     state.ErrStageMissing, unless that is allowed: then lost names those stages.
//   - State of a version that is newer than the program's is state.ErrNewer.
//   - Older versions are the stage's business: it reads what its earlier
//     releases have written.
func CheckStages(stored, program []Stage, allowMissing bool) (lost []string, err error) {
	for _, s := range stored {
		at := slices.IndexFunc(program, func(p Stage) bool { return p.Name == s.Name })
		switch {
		case s.Keys == 0:
		case at < 0:
			lost = append(lost, s.Name)
		case s.Version > program[at].Version:
			return nil, fmt.Errorf("stage %s is stored in version %d, this release reads up to %d: %w", s.Name, s.Version, program[at].Version, state.ErrNewer)
		}
	}
	if len(lost) > 0 && !allowMissing {
		return nil, fmt.Errorf("%w: %s", state.ErrStageMissing, strings.Join(lost, ", "))
	}
	return lost, nil
}

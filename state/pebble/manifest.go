package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/state"
)

// checkManifest refuses a directory whose record of which tables are live is
// lost or damaged, where Pebble would go on without the tables, and delete
// them: tables but no manifest, and a manifest that is damaged before its end.
func checkManifest(fs vfs.FS, dir string) error {
	d, err := pebble.Peek(dir, fs)
	if err != nil {
		return damage(err)
	}
	if d.Exists {
		data, err := readFile(fs, fs.PathJoin(dir, fs.PathBase(d.ManifestFilename)))
		if err != nil {
			return damage(err)
		}
		return checkRecords(data)
	}
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			return fmt.Errorf("%w: there are tables but no manifest", state.ErrCorrupt)
		}
	}
	return nil
}

func readFile(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	return data, errors.Join(err, f.Close())
}

// A manifest is in the log format of LevelDB (its doc/log_format.md): blocks
// of 32 KiB that hold chunks, each with a header of checksum, length and
// type. A chunk does not cross the end of a block.
const (
	blockSize  = 32 << 10
	headerSize = 7
	typeFull   = 1 // a whole record
	typeFirst  = 2 // the first chunk of a record
	typeLast   = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunk returns the type of the chunk at an offset and the offset behind it,
// false if there is no valid one.
func chunk(data []byte, at int) (kind byte, next int, ok bool) {
	end := min(len(data), (at/blockSize+1)*blockSize)
	if end-at < headerSize {
		return 0, 0, false
	}
	kind = data[at+6]
	next = at + headerSize + int(binary.LittleEndian.Uint16(data[at+4:]))
	if kind < typeFull || kind > typeLast || next > end {
		return 0, 0, false
	}
	sum := crc32.Checksum(data[at+6:next], castagnoli)
	masked := sum>>15 | sum<<17
	return kind, next, masked+0xa282ead8 == binary.LittleEndian.Uint32(data[at:])
}

// checkRecords returns state.ErrCorrupt if the beginning of a record follows
// something that is not one. Each record is synced before the next is begun,
// so a power cut leaves only the last one unfinished.
func checkRecords(data []byte) error {
	at := 0
	for at < len(data) {
		if blockSize-at%blockSize < headerSize {
			at = (at/blockSize + 1) * blockSize
			continue
		}
		_, next, ok := chunk(data, at)
		if !ok {
			break
		}
		at = next
	}
	for later := at + 1; later < len(data); later++ {
		if kind, _, ok := chunk(data, later); ok && kind <= typeFirst {
			return fmt.Errorf("%w: the manifest at byte %d of %d", state.ErrCorrupt, at, len(data))
		}
	}
	return nil
}

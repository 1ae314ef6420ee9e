package schemaregistry

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/sr"
)

// ErrHeader is the error of a message that does not begin as the registry's
// serializers write it: a zero byte and the id of its schema.
var ErrHeader = errors.New("no schema id")

// HeaderBytes is the length of the header of a message: a zero byte and the id
// of its schema, big-endian.
const HeaderBytes = 5

// ReadHeader takes the id of its schema off a message.
func ReadHeader(message []byte) (id int, rest []byte, err error) {
	if len(message) < HeaderBytes {
		return 0, nil, fmt.Errorf("%w: a message of %d bytes, and the header takes %d", ErrHeader, len(message), HeaderBytes)
	}
	if message[0] != 0 {
		return 0, nil, fmt.Errorf("%w: the message begins with byte 0x%02x instead of 0x00", ErrHeader, message[0])
	}
	return int(binary.BigEndian.Uint32(message[1:])), message[HeaderBytes:], nil
}

// maxMessageIndexes bounds how deep a message type may be nested in others.
const maxMessageIndexes = 32

// ReadIndexes takes off which message type of its schema a Protobuf message
// is: its place among those of the file, and so on inside it.
func ReadIndexes(message []byte) (indexes []int, rest []byte, err error) {
	indexes, rest, err = new(sr.ConfluentHeader).DecodeIndex(message, maxMessageIndexes)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: which message type of its schema it is cannot be read", ErrHeader)
	}
	for _, i := range indexes {
		if i < 0 {
			return nil, nil, fmt.Errorf("%w: message type %d of its schema", ErrHeader, i)
		}
	}
	return indexes, rest, nil
}

// AppendHeader appends the header of a message with this schema; indexes are
// of Protobuf only, nil for other kinds of schema.
func AppendHeader(dst []byte, id int, indexes []int) ([]byte, error) {
	return new(sr.ConfluentHeader).AppendEncode(dst, id, indexes)
}

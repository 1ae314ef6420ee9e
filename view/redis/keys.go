package redis

import (
	"strings"

	"millrace/event"
)

// Keys of Redis. The part in braces is what a cluster hashes: all that is read
// together for a user has the user in it, and lies on one node.
//
//	PREFIX:v:VIEW:{KEY}        an answer
//	PREFIX:{PREFIX}:state      who writes, and how far
//	PREFIX:{PREFIX}:writers    the epoch of the last of several writers
//	PREFIX:{PREFIX}:positions  how far each source has come
//	PREFIX:{PREFIX}:changes    the latest changes of the catalogue, a stream
//	PREFIX:c:{NN}              a part of the catalogue, a hash
//	PREFIX:m:{NNNN}            a mark by which a lost node is noticed

// escaper takes braces out of keys, so that what is hashed is the whole key
// and not a part of it.
var escaper = strings.NewReplacer("%", "%25", "{", "%7b", "}", "%7d")

var unescaper = strings.NewReplacer("%25", "%", "%7b", "{", "%7d", "}")

// unescape undoes what viewKey did to a key.
func unescape(text string) string {
	if text == "%" {
		return ""
	}
	return unescaper.Replace(text)
}

// viewKey is the key of an answer. An empty one has a brace pair of its own,
// as empty braces are not looked at.
func (c *Client) viewKey(name, key string) string {
	if key == "" {
		key = "%"
	} else if strings.ContainsAny(key, "%{}") {
		key = escaper.Replace(key)
	}
	var b strings.Builder
	b.Grow(len(c.prefix) + len(name) + len(key) + 6)
	b.WriteString(c.prefix)
	b.WriteString(":v:")
	b.WriteString(name)
	b.WriteString(":{")
	b.WriteString(key)
	b.WriteByte('}')
	return b.String()
}

// viewPattern matches the keys of all answers.
func (c *Client) viewPattern() string { return c.prefix + ":v:*" }

func (c *Client) stateKey() string     { return c.prefix + ":{" + c.prefix + "}:state" }
func (c *Client) writersKey() string   { return c.prefix + ":{" + c.prefix + "}:writers" }
func (c *Client) positionsKey() string { return c.prefix + ":{" + c.prefix + "}:positions" }
func (c *Client) changesKey() string   { return c.prefix + ":{" + c.prefix + "}:changes" }

// catalogueParts is over how many hashes the catalogue is spread.
const catalogueParts = 256

const hexDigits = "0123456789abcdef"

func (c *Client) catalogueKey(part int) string {
	return c.prefix + ":c:{" + string([]byte{hexDigits[part>>4], hexDigits[part&15]}) + "}"
}

// cataloguePart is the part that an id is in.
func cataloguePart(id string) int { return int(event.HashID(id) >> 56) }

// slots is how many slots a cluster has.
const slots = 16384

// slot is the slot of a key, as the specification of Redis Cluster has it:
// CRC16 (XMODEM) of what is between the first brace and the next closing one.
func slot(key string) uint16 {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if n := strings.IndexByte(key[open+1:], '}'); n > 0 {
			key = key[open+1 : open+1+n]
		}
	}
	crc := uint16(0)
	for i := range len(key) {
		crc = crc<<8 ^ crc16[byte(crc>>8)^key[i]]
	}
	return crc & (slots - 1)
}

var crc16 = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()

// marks is how many marks a cluster has, spread evenly over the slots: a node
// that owns 16384/marks slots in a row has one.
const marks = 128

// markKeys are keys of which each lies in another stretch of the slots.
func (c *Client) markKeys() []string {
	keys := make([]string, marks)
	missing := marks
	for i := 0; missing > 0; i++ {
		key := c.prefix + ":m:{" + base36(i) + "}"
		if at := int(slot(key)) * marks / slots; keys[at] == "" {
			keys[at] = key
			missing--
		}
	}
	return keys
}

func base36(n int) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	text := []byte{}
	for n >= 0 {
		text = append(text, digits[n%36])
		n = n/36 - 1
	}
	return string(text)
}

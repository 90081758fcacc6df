package emulator

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// md5Hex returns the digest that MD5OfMessageBody and MD5OfBody carry.
func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// md5OfAttributes returns the digest of message attributes, or "" if there are none. The encoding is
// the one of the SQS developer guide, "Calculating the MD5 message digest for message attributes".
func md5OfAttributes(attrs map[string]attribute) string {
	if len(attrs) == 0 {
		return ""
	}
	names := make([]string, 0, len(attrs))
	for name := range attrs {
		names = append(names, name)
	}
	slices.Sort(names)

	buf := make([]byte, 0, 256)
	field := func(s string) {
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(s)))
		buf = append(buf, s...)
	}
	for _, name := range names {
		a := attrs[name]
		field(name)
		field(a.dataType)
		if a.binary() {
			buf = append(buf, 2)
		} else {
			buf = append(buf, 1)
		}
		field(a.value)
	}
	sum := md5.Sum(buf)
	return hex.EncodeToString(sum[:])
}

package emulator

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// A receipt handle names one receive of one message of one queue: the queue's random serial, the
// message's number in it, and which receive it was, sealed with a checksum so that a mangled handle
// is told from a stale one.
const receiptLen = 8 + 8 + 4 + 4

func receiptHandle(serial, number uint64, receive uint32) string {
	var b [receiptLen]byte
	binary.BigEndian.PutUint64(b[0:], serial)
	binary.BigEndian.PutUint64(b[8:], number)
	binary.BigEndian.PutUint32(b[16:], receive)
	binary.BigEndian.PutUint32(b[20:], crc32.ChecksumIEEE(b[:20]))
	return base64.StdEncoding.EncodeToString(b[:])
}

func parseReceiptHandle(s string) (serial, number uint64, receive uint32, ok bool) {
	if len(s) != base64.StdEncoding.EncodedLen(receiptLen) {
		return 0, 0, 0, false
	}
	var b [receiptLen]byte
	if n, err := base64.StdEncoding.Strict().Decode(b[:], []byte(s)); err != nil || n != receiptLen {
		return 0, 0, 0, false
	}
	if crc32.ChecksumIEEE(b[:20]) != binary.BigEndian.Uint32(b[20:]) {
		return 0, 0, 0, false
	}
	return binary.BigEndian.Uint64(b[0:]), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint32(b[16:]), true
}

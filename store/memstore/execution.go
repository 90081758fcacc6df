package memstore

import (
	"bytes"
	"slices"

	"github.com/waybill-dev/waybill/store"
)

// An execution is one actor. Times are in ms since 1970.
type execution struct {
	match, status, index string
	meta, outbox         []byte
	frames               map[string][]byte
	history              [][]byte
	ended                bool

	started int64
	commit  string // the last of the chain
	epoch   int64
	nonce   string // of the lease, empty while nobody holds it
	until   int64  // the lease's expiry, 0 while nobody holds it
	wake    int64  // 0 while somebody holds it

	openings int // in a row since the last commit

	mailbox
}

func (x *execution) holds(l store.Lease) bool {
	return x.epoch == l.Epoch && x.nonce == l.Nonce
}

// open gives a lease out.
func (x *execution) open(nonce string, until int64) {
	x.openings++
	x.epoch++
	x.nonce, x.until, x.wake = nonce, until, 0
}

// release gives the lease back until the next wake-up.
func (x *execution) release(wake int64) {
	x.nonce, x.until, x.wake = "", 0, wake
}

// opening is the execution as its holder finds it.
func (x *execution) opening(id string, now int64) *store.Opening {
	return &store.Opening{
		Lease:    store.Lease{ID: id, Epoch: x.epoch, Nonce: x.nonce},
		Now:      millis(now),
		Started:  millis(x.started),
		Commit:   x.commit,
		Openings: max(x.openings, 1), // it may have committed since
		Status:   x.status,
		Match:    x.match,
		Index:    x.index,
		Ended:    x.ended,
		Meta:     clone(x.meta),
		Root:     clone(x.frames[store.RootFrame]),
		Outbox:   clone(x.outbox),
		Mailbox:  x.mailAfter(x.absorbed),
	}
}

// clone copies bytes; empty ones become nil.
func clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return bytes.Clone(b)
}

func cloneAll(list [][]byte) [][]byte {
	out := slices.Clone(list)
	for i, b := range out {
		out[i] = append([]byte{}, b...)
	}
	return out
}

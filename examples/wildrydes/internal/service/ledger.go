package service

import (
	"net/http"
	"time"
)

// A Ledger is what a service has done.
type Ledger struct {
	Entries []Entry `json:"entries"`
	Stats   Stats   `json:"stats"`
}

// An Entry is one effect. Nothing that was written is ever changed.
type Entry struct {
	Kind string    `json:"kind"`
	ID   string    `json:"id"`
	Key  string    `json:"key"` // the idempotency key that it was made under
	Time time.Time `json:"time"`
	Request
}

// Stats counts the requests of a service.
type Stats struct {
	Requests int `json:"requests"`
	// Replayed were answered as the first request under their key.
	Replayed int `json:"replayed"`
	// RefusedLate are actions that came after their own undo.
	RefusedLate int `json:"refused_late"`
	// Pending are under way, their clients waiting or not.
	Pending int `json:"pending"`
}

// A Book is what a service's operations write into.
type Book struct {
	key     string // of the request that is being carried out
	entries []Entry
	index   map[name]int // into entries
	undone  map[name]bool
}

// A name names an effect.
type name struct{ kind, id string }

// Find returns the entry of that kind and id.
func (b *Book) Find(kind, id string) (Entry, bool) {
	i, ok := b.index[name{kind, id}]
	if !ok {
		return Entry{}, false
	}
	return b.entries[i], true
}

// Add writes an effect into the book. It refuses one that was undone before it
// came, and a second one of the same id: one effect has one key.
func (b *Book) Add(kind, id string, r Request) error {
	n := name{kind, id}
	if b.undone[n] {
		return refuse(http.StatusConflict, CodeUndone, "it was undone before")
	}
	if _, ok := b.index[n]; ok {
		return refuse(http.StatusConflict, CodeTaken, "the id is taken")
	}
	if b.index == nil {
		b.index = make(map[name]int)
	}
	b.index[n] = len(b.entries)
	b.entries = append(b.entries, Entry{Kind: kind, ID: id, Key: b.key, Time: time.Now(), Request: r})
	return nil
}

// Undo takes the effect that r.Of names back, in full, by an effect of another
// kind. If it has not come, it is kept from coming; that and a second undo have
// no effect, and Undo reports false.
func (b *Book) Undo(undone, kind, id string, r Request) (bool, error) {
	n := name{undone, r.Of}
	e, ok := b.Find(undone, r.Of)
	switch {
	case b.undone[n]:
		return false, nil
	case ok && e.Fare != r.Fare:
		return false, refuse(http.StatusUnprocessableEntity, "wrong_fare", "it belongs to another fare")
	case ok:
		r.Amount = e.Amount
		if err := b.Add(kind, id, r); err != nil {
			return false, err
		}
	}
	if b.undone == nil {
		b.undone = make(map[name]bool)
	}
	b.undone[n] = true
	return ok, nil
}

// Undone reports whether an effect was taken back, or is kept from coming.
func (b *Book) Undone(kind, id string) bool { return b.undone[name{kind, id}] }

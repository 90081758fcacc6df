package storetest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/store"
)

// CompareLetters does with the catalogue what [Compare] does with the rest: two
// stores answer alike, and both as a map would; and a listing that goes on while
// letters come and go returns each that stays once.
func CompareLetters(t *testing.T, reference, subject Harness) {
	rapid.Check(t, func(rt *rapid.T) {
		c := &comparison{T: rt, ctx: t.Context(), ref: reference.New(t), sub: subject.New(t), step: brief}
		b := &letterBook{comparison: c, letters: make(map[string]map[string]store.Letter)}
		for _, s := range []Store{c.ref.Store, c.sub.Store} {
			b.listings = append(b.listings, &listing{store: s, queue: letterQueues[0]}, &listing{store: s, queue: letterQueues[1], bodies: true})
		}
		steps := 0
		rt.Repeat(map[string]func(*rapid.T){
			"put":    c.with(b.put),
			"delete": c.with(b.delete),
			"get":    c.with(b.get),
			"page":   c.with(b.page),
			"": c.with(func() {
				if steps++; steps%4 == 0 { // it is many calls
					b.count()
				}
			}),
		})
		c.with(b.count)(rt)
		c.with(b.end)(rt)
	})
}

var (
	letterQueues = []string{"q", "q:1"}
	letterIDs    = []string{"a", "b", "c", "a\x01", "7:", "\xff", "m1", "m2", "m3", "m4"}
)

// A letterBook is what the answers of both stores have told.
type letterBook struct {
	*comparison
	letters  map[string]map[string]store.Letter
	listings []*listing
}

func (b *letterBook) queue() string { return rapid.SampledFrom(letterQueues).Draw(b.T, "queue") }

func (b *letterBook) ids(label string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(letterIDs), 0, 5, rapid.ID).Draw(b.T, label)
}

func (b *letterBook) put() {
	queue := b.queue()
	var batch []store.Letter
	for _, id := range b.ids("letters") {
		batch = append(batch, letterOf(id, rapid.SampledFrom([]string{"", "x", "\x00:7"}).Draw(b.T, "text")))
	}
	_, err := both(b.comparison, "put", func(s Store) (any, error) { return nil, s.PutLetters(b.ctx, queue, batch) })
	if err != nil {
		b.Fatal(err)
	}
	if b.letters[queue] == nil {
		b.letters[queue] = make(map[string]store.Letter)
	}
	for _, l := range batch {
		if _, ok := b.letters[queue][l.ID]; !ok {
			b.letters[queue][l.ID] = l
		}
	}
}

func (b *letterBook) delete() {
	queue := b.queue()
	ids := b.ids("letters")
	_, err := both(b.comparison, "delete", func(s Store) (any, error) { return nil, s.DeleteLetters(b.ctx, queue, ids) })
	if err != nil {
		b.Fatal(err)
	}
	for _, id := range ids {
		delete(b.letters[queue], id)
		for _, l := range b.listings {
			if l.queue == queue {
				delete(l.stay, id)
			}
		}
	}
}

func (b *letterBook) get() {
	queue, id := b.queue(), rapid.SampledFrom(letterIDs).Draw(b.T, "letter")
	got, err := both(b.comparison, "get", func(s Store) (store.Letter, error) { return s.GetLetter(b.ctx, queue, id) })
	want, ok := b.letters[queue][id]
	if (err == nil) != ok || ok && b.showValue(reflect.ValueOf(got)) != b.showValue(reflect.ValueOf(want)) {
		b.Fatalf("letter %q of %q is %+v, %v, want %+v", id, queue, got, err, want)
	}
}

func (b *letterBook) count() {
	var queues []string
	for _, queue := range letterQueues {
		n, err := both(b.comparison, "count", func(s Store) (int64, error) { return s.CountLetters(b.ctx, queue) })
		if err != nil || int(n) != len(b.letters[queue]) {
			b.Fatalf("%q has %d letters, %v, want %d", queue, n, err, len(b.letters[queue]))
		}
		if n > 0 {
			queues = append(queues, queue)
		}
	}
	got, err := both(b.comparison, "queues", func(s Store) ([]string, error) { return s.LetterQueues(b.ctx) })
	if err != nil || !slices.Equal(got, queues) {
		b.Fatalf("the queues are %q, %v, want %q", got, err, queues)
	}
}

// A listing is under way in one store.
type listing struct {
	store    Store
	queue    string
	bodies   bool
	position string
	stay     map[string]bool // there since it began
	seen     map[string]int
}

// page has a listing go on.
func (b *letterBook) page() {
	l := rapid.SampledFrom(b.listings).Draw(b.T, "listing")
	b.read(l, rapid.IntRange(1, 4).Draw(b.T, "limit"))
}

func (b *letterBook) read(l *listing, limit int) {
	if l.stay == nil {
		l.stay, l.seen = make(map[string]bool), make(map[string]int)
		for id := range b.letters[l.queue] {
			l.stay[id] = true
		}
	}
	var page []store.LetterSummary
	var err error
	if l.bodies {
		var letters []store.Letter
		letters, l.position, err = l.store.ListLetters(b.ctx, l.queue, l.position, limit)
		for _, x := range letters {
			if want := b.letters[l.queue][x.ID]; string(x.Body) != string(want.Body) {
				b.Fatalf("the body of %q is %q, want %q", x.ID, x.Body, want.Body)
			}
			page = append(page, x.LetterSummary)
		}
	} else {
		page, l.position, err = l.store.ListSummaries(b.ctx, l.queue, l.position, limit)
	}
	if err != nil || len(page) > limit {
		b.Fatalf("a page of %d: %+v, %v", limit, page, err)
	}
	for _, x := range page {
		want, ok := b.letters[l.queue][x.ID]
		if got, want := b.showValue(reflect.ValueOf(x)), b.showValue(reflect.ValueOf(want.LetterSummary)); !ok || got != want {
			b.Fatalf("listed is %s, want %s", got, want)
		}
		l.seen[x.ID]++
	}
	if l.position != "" {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(l.stay)) {
		if l.seen[id] != 1 {
			b.Fatalf("%q of %q was listed %d times, and there all the while; listed were %v", id, l.queue, l.seen[id], fmt.Sprint(l.seen))
		}
	}
	l.stay = nil
}

// end has all listings come to their ends.
func (b *letterBook) end() {
	for _, l := range b.listings {
		for first := true; first || l.position != ""; first = false {
			b.read(l, 7)
		}
	}
}

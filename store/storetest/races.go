package storetest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/waybill-dev/waybill/store"
)

// racers is how many calls race.
const racers = 8

// race runs f side by side, once a racer, and returns what each returned.
func race[T any](f func(i int) T) []T {
	results := make([]T, racers)
	ready := make(chan struct{})
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			<-ready
			results[i] = f(i)
		})
	}
	close(ready)
	wg.Wait()
	return results
}

var raceRules = []rule{
	{
		name: "of openings",
		says: "one worker at a time opens an execution",
		check: func(e *env) {
			for round := range 5 {
				id := fmt.Sprintf("x%d", round)
				e.start(id)
				won := 0
				for i, err := range race(func(i int) error {
					_, err := e.Open(e.Context(), store.OpenRequest{ID: id, Nonce: fmt.Sprintf("n%d", i), Lease: long})
					return err
				}) {
					var held *store.HeldError
					switch {
					case err == nil:
						won++
					case !errors.As(err, &held):
						e.Fatalf("racer %d: got error %v, want a HeldError", i, err)
					}
				}
				e.same("openings", won, 1)
				e.same("the epoch", e.record(id).Epoch, int64(1))
			}
		},
	},
	{
		name: "of starts",
		says: "the same id is one execution",
		check: func(e *env) {
			type answer struct {
				store.StartResult
				err error
			}
			for round := range 5 {
				id := fmt.Sprintf("x%d", round)
				created, opened := 0, 0
				for _, a := range race(func(i int) answer {
					r := started(id)
					r.Commit, r.Nonce, r.Lease = fmt.Sprintf("c0.%d", i), fmt.Sprintf("n%d", i), long
					got, err := e.Start(e.Context(), r)
					return answer{got, err}
				}) {
					e.ok(a.err)
					if a.Created {
						created++
					}
					if a.Opened {
						opened++
					}
				}
				e.same("created and opened", []int{created, opened}, []int{1, 1})
				e.same("the history", e.history(id), []string{"h0"})
			}
		},
	},
	{
		name: "of commits",
		says: "commits under one lease form a chain: one of them follows",
		check: func(e *env) {
			for round := range 5 {
				o := e.held(fmt.Sprintf("x%d", round))
				applied := 0
				for i, err := range race(func(i int) error {
					_, err := e.Commit(e.Context(), follow(o, fmt.Sprintf("c1.%d", i)))
					return err
				}) {
					if err == nil {
						applied++
						e.same("the last commit", e.record(o.ID).Commit, fmt.Sprintf("c1.%d", i))
						continue
					}
					e.is(err, store.ErrConflict)
				}
				e.same("applied", applied, 1)
				e.same("history entries", len(e.history(o.ID)), 2)
			}
		},
	},
	{
		name: "of one commit with itself",
		says: "the same commit again writes nothing and answers alike",
		check: func(e *env) {
			o := e.held("a")
			for _, err := range race(func(int) error {
				got, err := e.Commit(e.Context(), follow(o, "c1"))
				if err == nil && !got.Applied {
					err = errors.New("not applied")
				}
				return err
			}) {
				e.ok(err)
			}
			e.same("the history", e.history("a"), []string{"h0", "h c1"})
		},
	},
	{
		name: "of mail with parking",
		says: "no mail is missed: a commit that parks answers with it, or the execution is due",
		check: func(e *env) {
			for round := range 20 {
				o := e.held(fmt.Sprintf("x%d", round))
				parked := false
				for i, err := range race(func(i int) error {
					if i == racers/2 {
						got, err := e.Commit(e.Context(), park(follow(o, "c1"), o.Now))
						parked = got.Applied
						return err
					}
					_, err := e.Post(e.Context(), letter(o.ID, fmt.Sprintf("m%d", i)))
					return err
				}) {
					if err != nil {
						e.Fatalf("racer %d: %v", i, err)
					}
				}
				if !parked {
					c := park(follow(o, "c1"), o.Now)
					got, err := e.Commit(e.Context(), c)
					e.ok(err)
					e.same("mail and applied", []any{len(got.Mail), got.Applied}, []any{racers - 1, false})
					continue
				}
				e.isDue(o.ID)
				e.same("mail", len(e.open(o.ID, long).Mail), racers-1)
			}
		},
	},
	{
		name: "of mail with the end",
		says: "mail is absorbed or refused: Post answers ErrEnded, or the commit that ends answers with the mail",
		check: func(e *env) {
			for round := range 20 {
				o := e.held(fmt.Sprintf("x%d", round))
				var ended bool
				var accepted int
				for i, err := range race(func(i int) error {
					if i == racers/2 {
						c := follow(o, "c1")
						c.Next, c.Wake = store.End, o.Now.Add(long)
						got, err := e.Commit(e.Context(), c)
						ended = got.Applied
						return err
					}
					_, err := e.Post(e.Context(), letter(o.ID, fmt.Sprintf("m%d", i)))
					return err
				}) {
					switch {
					case err == nil && i != racers/2:
						accepted++
					case err != nil:
						e.is(err, store.ErrEnded)
					}
				}
				if ended != (accepted == 0) {
					e.Fatalf("ended is %t with %d mails accepted", ended, accepted)
				}
			}
		},
	},
	{
		name: "of the same mail",
		says: "mail of one id is accepted once",
		check: func(e *env) {
			e.start("a")
			accepted := 0
			for _, posted := range race(func(int) bool {
				posted, err := e.Post(e.Context(), letter("a", "m1"))
				return posted && err == nil
			}) {
				if posted {
					accepted++
				}
			}
			e.same("accepted", accepted, 1)
			e.mail("the opening", e.open("a", long).Mailbox, 1, "m1")
		},
	},
	{
		name: "of deliveries",
		says: "one of several that deliver holds the execution, and it has or gets all their mail",
		check: func(e *env) {
			for round := range 10 {
				id := fmt.Sprintf("x%d", round)
				e.parked(id)
				var holder *store.Opening
				for _, got := range race(func(i int) store.Delivery {
					nonce := fmt.Sprintf("n%d", i)
					got, err := e.Deliver(e.Context(), letter(id, "m"+nonce), store.OpenRequest{ID: id, Nonce: nonce, Lease: long})
					if err != nil {
						e.Error(err)
					}
					return got
				}) {
					e.same("posted", got.Posted, true)
					if got.Opening == nil {
						continue
					}
					if holder != nil {
						e.Fatalf("opened as %+v and as %+v", holder, got.Opening)
					}
					holder = got.Opening
				}
				if holder == nil {
					e.Fatal("nobody holds it")
				}
				r, err := e.Renew(e.Context(), holder.Lease, long, holder.Read)
				e.ok(err)
				e.same("mail", len(holder.Mail)+len(r.Mail), racers)
			}
		},
	},
	{
		name: "of sweepers",
		says: "Due hides what it returns: one of several callers gets it",
		check: func(e *env) {
			for i := range 20 {
				e.start(fmt.Sprintf("x%d", i))
			}
			all := e.all()
			seen := make(map[string]int)
			for _, ids := range race(func(int) []string {
				ids, err := e.Due(e.Context(), all, 100, long)
				if err != nil {
					e.Error(err)
				}
				return ids
			}) {
				for _, id := range ids {
					seen[id]++
				}
			}
			e.same("executions", len(seen), 20)
			for id, n := range seen {
				e.same("times that "+id+" was due", n, 1)
			}
		},
	},
	{
		name: "of claims",
		says: "one receiver at a time holds a key",
		check: func(e *env) {
			claimed := 0
			for _, err := range race(func(i int) error {
				_, _, err := e.claim("k", fmt.Sprintf("t%d", i), long)
				return err
			}) {
				if err == nil {
					claimed++
					continue
				}
				e.is(err, store.ErrBusy)
			}
			e.same("claimed", claimed, 1)
		},
	},
	{
		name: "of attempts",
		says: "one receiver at a time holds a key, whichever attempt it has; the highest attempt gets it in the end, and no lower one after it",
		check: func(e *env) {
			claimed := 0
			for _, err := range race(func(i int) error { return e.attempt("k", fmt.Sprintf("t%d", i), i+1) }) {
				switch {
				case err == nil:
					claimed++
				case !errors.Is(err, store.ErrBusy):
					e.is(err, store.ErrStale)
				}
			}
			e.same("claimed", claimed, 1)
			for i := range racers {
				e.ok(e.Forget(e.Context(), "k", fmt.Sprintf("t%d", i)))
			}
			for i := range racers - 1 {
				e.is(e.attempt("k", "late", i+1), store.ErrStale)
			}
			e.ok(e.attempt("k", "last", racers))
		},
	},
}

package saga

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// carried runs a sending of letters, each of which takes a second, and returns what
// was carried, in the order in which it came back, and how many went side by side.
func carried(t *testing.T, refuse string, rounds int, letters ...*letter) (ids []string, most int) {
	t.Helper()
	base, quit := context.WithCancel(t.Context())
	defer quit()
	var mu sync.Mutex
	at := 0
	s := &sending{
		each: time.Minute, base: base, quit: quit, idle: make(chan struct{}, 1), lines: make(map[string]bool),
		fails: func(*letter, error) {},
		carry: func(_ context.Context, l *letter) error {
			mu.Lock()
			at++
			most = max(most, at)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			at--
			if l.ID == refuse {
				refuse = ""
				return errors.New("not now")
			}
			ids = append(ids, l.ID)
			return nil
		},
	}
	for range rounds {
		s.send(letters, time.Now().Add(time.Hour))
		s.await(time.Hour)
		letters = s.left(letters)
	}
	s.all.Wait()
	return ids, most
}

// What is for one execution, and the commands of one frame, go out in their order;
// after one that does not go, the others of its line wait.
func TestLettersOfOneLineKeepTheirOrder(t *testing.T) {
	for name, line := range map[string][2]letter{
		"a start and a cancel": {
			{Kind: letterStart, ID: "start", To: "child"}, {Kind: letterMail, ID: "cancel", To: "child"},
		},
		"a command and its undo": {
			{ID: "start", To: "there", Attempt: 1, Frame: "P:0"}, {ID: "cancel", To: "there", Attempt: 1, Frame: "P:0", Undo: true},
		},
	} {
		for _, refuse := range []string{"", "start"} {
			t.Run(name+refuse, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rounds := func(n int) []string {
						first, then := line[0], line[1]
						ids, _ := carried(t, refuse, n, &first, &then, &letter{ID: "other", To: "there", Attempt: 1, Frame: "P:1"})
						return ids
					}
					if got := rounds(1); refuse != "" && !slices.Equal(got, []string{"other"}) {
						t.Errorf("at first went %q, want the other line's", got)
					}
					got := rounds(2)
					if a, b := slices.Index(got, "start"), slices.Index(got, "cancel"); len(got) != 3 || a > b {
						t.Errorf("went %q", got)
					}
				})
			})
		}
	}
}

// Others go side by side, so many at once.
func TestLettersGoSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var letters []*letter
		for i := range 50 {
			letters = append(letters, &letter{ID: fmt.Sprint(i), To: "there", Attempt: 1, Frame: fmt.Sprint("M:", i)})
		}
		begin := time.Now()
		ids, most := carried(t, "", 1, letters...)
		if len(ids) != 50 || most != mostSending || time.Since(begin) > 4*time.Second {
			t.Errorf("%d letters, %d at once, in %s", len(ids), most, time.Since(begin))
		}
	})
}

package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/store"
)

var auditRules = []rule{
	{
		name: "is kept under the store's time",
		says: "AppendAudit keeps a record with its body, by the store's clock",
		check: func(e *env) {
			now := e.opens("clock", "j", "").Now
			odd := "\x00\xff: é\n%d([ 7"
			e.appends(odd, odd, odd, long)
			e.appends("q", "empty", "", long)
			for subject, want := range map[string]store.Audited{odd: {Subject: odd, ID: odd, Body: []byte(odd)}, "q": {Subject: "q", ID: "empty"}} {
				list, next, err := e.ListAudit(e.Context(), subject, "", 9)
				e.ok(err)
				if len(list) != 1 || next != "" {
					e.Fatalf("got %+v and %q, want one record", list, next)
				}
				e.near("when it was added", list[0].At, now, 0)
				e.near("until when it is kept", list[0].KeptUntil, list[0].At, long)
				if list[0].At.Before(now) {
					e.Fatalf("it is of %v, before %v", list[0].At, now)
				}
				want.At, want.KeptUntil = list[0].At, list[0].KeptUntil
				e.same("the record", list[0], want)
			}
		},
	},
	{
		name: "is not changed",
		says: "the same record again changes nothing, with another body it is ErrExists; so with a page of items",
		check: func(e *env) {
			e.appends("q", "a", "body", long)
			e.ok(e.AppendAuditItems(e.Context(), "q", "a", 0, []string{"m1", "m2"}))
			before, _, err := e.ListAudit(e.Context(), "q", "", 9)
			e.ok(err)
			e.Advance(2 * time.Millisecond)
			for range 2 {
				e.appends("q", "a", "body", brief)
				e.ok(e.AppendAuditItems(e.Context(), "q", "a", 0, []string{"m1", "m2"}))
				var exists *store.AuditExistsError
				err := e.AppendAudit(e.Context(), store.AuditRecord{Subject: "q", ID: "a", Body: []byte("another"), Retention: long})
				e.is(err, store.ErrExists)
				if !errors.As(err, &exists) || *exists != (store.AuditExistsError{Subject: "q", ID: "a", Page: -1}) {
					e.Fatalf("got error %v, want an AuditExistsError", err)
				}
				for _, items := range [][]string{{"m1"}, {"m2", "m1"}, {"m1", "m2", "m3"}, {"m1m2"}} {
					err := e.AppendAuditItems(e.Context(), "q", "a", 0, items)
					e.is(err, store.ErrExists)
					if !errors.As(err, &exists) || *exists != (store.AuditExistsError{Subject: "q", ID: "a"}) {
						e.Fatalf("got error %v, want an AuditExistsError", err)
					}
				}
			}
			after, _, err := e.ListAudit(e.Context(), "q", "", 9)
			e.ok(err)
			e.same("the records", after, before)
			e.same("the items", e.items("q", "a", 0), "m1 m2 of 1")
		},
	},
	{
		name: "is kept for its retention",
		says: "a record and its items are kept for the retention, and no longer, whatever is added meanwhile; its id is free then",
		check: func(e *env) {
			e.appends("q", "brief", "body", brief)
			e.appends("q", "long", "body", long)
			for page := range 2 {
				e.ok(e.AppendAuditItems(e.Context(), "q", "brief", page, []string{"m"}))
			}
			e.ok(e.AppendAuditItems(e.Context(), "q", "long", 0, []string{"m"}))
			e.Advance(brief)
			for range 2 {
				e.same("the records", e.audited("q"), "q/long")
				e.same("all records", e.audited(""), "q/long")
				_, _, err := e.AuditItems(e.Context(), "q", "brief", 0)
				e.is(err, store.ErrNotFound)
				e.is(e.AppendAuditItems(e.Context(), "q", "brief", 2, []string{"m"}), store.ErrNotFound)
				e.same("the items", e.items("q", "long", 0), "m of 1")
				e.appends("q", "also brief", "body", brief) // drops what is over
				e.Advance(brief)
			}
			e.appends("q", "brief", "another body", long)
			e.same("the records", e.audited("q"), "q/brief q/long")
			e.same("the items", e.items("q", "brief", 0), " of 0")
		},
	},
	{
		name: "is listed in pages, the newest first",
		says: "ListAudit returns the records of a subject, or of all, the newest first; each page goes on where the last one ended, whatever is added meanwhile",
		check: func(e *env) {
			e.same("the records at first", []string{e.audited(""), e.audited("q")}, []string{"", ""})
			var all, ofQ []string
			for i := range 15 {
				subject, id := []string{"q", "q:1", "7"}[i%3], fmt.Sprintf("a%d", i)
				e.appends(subject, id, "body", long)
				e.Advance(2 * time.Millisecond)
				all = append([]string{subject + "/" + id}, all...)
				if subject == "q" {
					ofQ = append([]string{subject + "/" + id}, ofQ...)
				}
			}
			for limit := 1; limit <= 16; limit++ {
				for subject, want := range map[string][]string{"": all, "q": ofQ} {
					var got []string
					for before, pages := "", 0; pages == 0 || before != ""; pages++ {
						list, next, err := e.ListAudit(e.Context(), subject, before, limit)
						e.ok(err)
						if rest := len(want) - len(got); len(list) != min(limit, rest) || (next == "") != (rest <= limit) {
							e.Fatalf("page %d by %d has %d of %d records, and goes on at %q", pages, limit, len(list), rest, next)
						}
						for _, r := range list {
							got = append(got, r.Subject+"/"+r.ID)
						}
						before = next
					}
					e.same("the records", strings.Join(got, " "), strings.Join(want, " "))
				}
			}
			list, next, err := e.ListAudit(e.Context(), "q", "", 2)
			e.ok(err)
			e.appends("q", "newer", "body", long)
			more, _, err := e.ListAudit(e.Context(), "q", next, 2)
			e.ok(err)
			var got []string
			for _, r := range append(list, more...) {
				got = append(got, r.Subject+"/"+r.ID)
			}
			e.same("the records", got, ofQ[:4])
			list, next, err = e.ListAudit(e.Context(), "q", "", 0)
			e.ok(err)
			e.same("no records", []any{len(list), next}, []any{0, ""})
			_, _, err = e.ListAudit(e.Context(), "q", "nonsense", 1)
			e.is(err, store.ErrInvalid)
		},
	},
	{
		name: "is listed past what is over",
		says: "records whose retention is over take no places on a page",
		check: func(e *env) {
			e.appends("q", "first", "", long)
			for i := range 7 {
				e.appends("q", fmt.Sprint(i), "", brief)
			}
			e.Advance(brief)
			list, next, err := e.ListAudit(e.Context(), "q", "", 1)
			e.ok(err)
			e.same("the page", []any{len(list), next, e.audited("q")}, []any{1, "", "q/first"})
		},
	},
	{
		name: "is ordered within a millisecond",
		says: "records of one moment are listed in the order in which they were added, the last one first",
		check: func(e *env) {
			var want []string
			for i := range 30 {
				id := fmt.Sprintf("a%d", (i*7)%30)
				e.appends("q", id, "", long)
				want = append([]string{"q/" + id}, want...)
			}
			e.same("the records", e.audited("q"), strings.Join(want, " "))
		},
	},
	{
		name: "names items by the page",
		says: "pages of items are added in any order, and read by their numbers; one that is not there is empty",
		check: func(e *env) {
			e.is(e.AppendAuditItems(e.Context(), "q", "a", 0, []string{"m"}), store.ErrNotFound)
			_, _, err := e.AuditItems(e.Context(), "q", "a", 0)
			e.is(err, store.ErrNotFound)
			e.appends("q", "a", "body", long)
			e.appends("q", "b", "body", long)
			e.same("the items at first", e.items("q", "a", 0), " of 0")
			odd := []string{"\x00\xff", "3:abc", ":", "é"}
			e.ok(e.AppendAuditItems(e.Context(), "q", "a", 7, odd))
			e.ok(e.AppendAuditItems(e.Context(), "q", "a", 0, []string{"m1"}))
			e.ok(e.AppendAuditItems(e.Context(), "q", "b", 1, []string{"m2", "m3"}))
			got, pages, err := e.AuditItems(e.Context(), "q", "a", 7)
			e.ok(err)
			e.same("the items", []any{got, pages}, []any{odd, 2})
			e.same("the items", []string{e.items("q", "a", 0), e.items("q", "a", 1), e.items("q", "b", 1)}, []string{"m1 of 2", " of 2", "m2 m3 of 1"})
		},
	},
	{
		name: "names 40,000 items",
		says: "a record names as many items as there are, by the page",
		check: func(e *env) {
			e.appends("q", "a", "body", long)
			id := func(i int) string { return fmt.Sprintf("219f8380-5770-4cc2-8c3e-%012d", i) }
			for page := range 40 {
				var items []string
				for i := range store.MaxAuditItems {
					items = append(items, id(page*store.MaxAuditItems+i))
				}
				e.ok(e.AppendAuditItems(e.Context(), "q", "a", page, items))
			}
			n := 0
			for page := range 40 {
				items, pages, err := e.AuditItems(e.Context(), "q", "a", page)
				e.ok(err)
				e.same("pages", pages, 40)
				for _, item := range items {
					if item != id(n) {
						e.Fatalf("item %d is %q", n, item)
					}
					n++
				}
			}
			e.same("items", n, 40_000)
		},
	},
	{
		name: "takes the largest records",
		says: "bodies have up to MaxAuditBody bytes, and pages MaxAuditItems items of MaxID",
		check: func(e *env) {
			body, id := strings.Repeat("b", store.MaxAuditBody), strings.Repeat("x", store.MaxID)
			e.appends(id, id, body, long)
			items := slices.Repeat([]string{id}, store.MaxAuditItems)
			e.ok(e.AppendAuditItems(e.Context(), id, id, store.MaxAuditPages-1, items))
			list, _, err := e.ListAudit(e.Context(), id, "", 1)
			e.ok(err)
			e.same("the body", string(list[0].Body) == body, true)
			got, _, err := e.AuditItems(e.Context(), id, id, store.MaxAuditPages-1)
			e.ok(err)
			e.same("the items", slices.Equal(got, items), true)
		},
	},
}

// appends adds an audit record.
func (e *env) appends(subject, id, body string, d time.Duration) {
	e.Helper()
	e.ok(e.AppendAudit(e.Context(), store.AuditRecord{Subject: subject, ID: id, Body: []byte(body), Retention: d}))
}

// audited reads the names of a subject's records.
func (e *env) audited(subject string) string {
	e.Helper()
	list, _, err := e.ListAudit(e.Context(), subject, "", store.MaxAuditPage+1)
	e.ok(err)
	var names []string
	for _, r := range list {
		names = append(names, r.Subject+"/"+r.ID)
	}
	return strings.Join(names, " ")
}

// items reads a page of items, and how many there are.
func (e *env) items(subject, id string, page int) string {
	e.Helper()
	items, pages, err := e.AuditItems(e.Context(), subject, id, page)
	e.ok(err)
	return fmt.Sprintf("%s of %d", strings.Join(items, " "), pages)
}

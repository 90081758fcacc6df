package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/store"
)

var catalogueRules = []rule{
	{
		name: "keeps letters",
		says: "PutLetters keeps letters with their summaries and bodies, by queue and id, and GetLetter returns them, or ErrNotFound",
		check: func(e *env) {
			odd := "\xff: é\n%d([ 7"
			at := time.UnixMilli(1767323045006)
			for _, queue := range []string{"q", "q:1", "1:q", odd} {
				for i, l := range []store.Letter{
					letterOf("a", ""),
					letterOf(odd, odd),
					{LetterSummary: store.LetterSummary{ID: "bare"}, Body: []byte{0}},
					{LetterSummary: store.LetterSummary{ID: "all", Name: "n:1", Attributes: "a, b", Shape: "{}", Reason: "7:", Filter: odd, Type: "*t", Frame: "f\x00", Source: "s", FirstFailedAt: time.UnixMilli(0), FailedAt: at}, Body: []byte("\x00\xff")},
				} {
					e.puts(queue, l)
					got, err := e.GetLetter(e.Context(), queue, l.ID)
					e.ok(err)
					e.same("the letter", got, l)
					e.same("how many there are", e.letterCount(queue), i+1)
				}
				_, err := e.GetLetter(e.Context(), queue, "none")
				e.is(err, store.ErrNotFound)
			}
			_, err := e.GetLetter(e.Context(), "none", "a")
			e.is(err, store.ErrNotFound)
			queues, err := e.LetterQueues(e.Context())
			e.ok(err)
			e.same("the queues", strings.Join(queues, "|"), "1:q|q|q:1|"+odd)
		},
	},
	{
		name: "keeps what is there",
		says: "a letter that is there stays as it is, whatever is put under its id; the others of the batch are added",
		check: func(e *env) {
			e.puts("q", letterOf("a", "1"), letterOf("b", "1"))
			e.puts("q", letterOf("a", "2"), letterOf("c", "2"), letterOf("b", "2"))
			e.puts("q", letterOf("a", "1"))
			e.puts("q")
			e.puts("p", letterOf("a", "3"))
			e.same("the letters", strings.Join(e.letters("q", 9), " "), "a=1 b=1 c=2")
			e.same("the summaries", strings.Join(e.summaries("q", 9), " "), "a=1 b=1 c=2")
		},
	},
	{
		name: "is listed in pages",
		says: "ListLetters and ListSummaries return each letter once, in pages of the limit at most, and an empty queue's none",
		check: func(e *env) {
			e.same("the letters at first", len(e.letters("q", 5)), 0)
			want := e.fill("q", 130)
			few := e.fill("other", 3)
			e.same("the letters by one", strings.Join(e.letters("other", 1), " "), strings.Join(few, " "))
			e.same("the summaries by one", strings.Join(e.summaries("other", 1), " "), strings.Join(few, " "))
			for _, limit := range []int{7, 64, 129, 130, 131, 1 << 40} {
				e.same("the summaries", strings.Join(e.summaries("q", limit), " "), strings.Join(want, " "))
				e.same("the letters", strings.Join(e.letters("q", limit), " "), strings.Join(want, " "))
			}
			for _, limit := range []int{0, -1} {
				letters, next, err := e.ListLetters(e.Context(), "q", "", limit)
				e.ok(err)
				summaries, next2, err := e.ListSummaries(e.Context(), "q", "", limit)
				e.ok(err)
				e.same("what is listed of none", []any{len(letters), len(summaries), next, next2}, []any{0, 0, "", ""})
			}
		},
	},
	{
		name: "is listed while it changes",
		says: "a letter that is there from the first page to the last is returned once, whatever is put and deleted meanwhile",
		check: func(e *env) {
			stay := e.fill("q", 60)
			for i := range 30 {
				e.puts("q", letterOf(fmt.Sprintf("go%d", i), "x"))
			}
			seen, position := map[string]int{}, ""
			for page := 0; ; page++ {
				list, next, err := e.ListSummaries(e.Context(), "q", position, 7)
				e.ok(err)
				for _, l := range list {
					seen[l.ID]++
				}
				if position = next; next == "" {
					break
				}
				e.puts("q", letterOf(fmt.Sprintf("come%d", page), "x"))
				if page < 30 {
					e.deletes("q", fmt.Sprintf("go%d", page))
				}
			}
			for _, l := range stay {
				id, _, _ := strings.Cut(l, "=")
				e.same("how often "+id+" was listed", seen[id], 1)
			}
		},
	},
	{
		name: "has large letters in small pages",
		says: "a page of letters has at most MaxLetterPage bytes, if it has more than one letter",
		check: func(e *env) {
			sizes := []int{store.MaxLetterPage + 1, store.MaxLetterPage * 2 / 5, store.MaxLetterPage * 2 / 5, store.MaxLetterPage * 2 / 5}
			n := len(sizes)
			for i, size := range sizes {
				l := letterOf(fmt.Sprintf("m%d", i), "x")
				l.Body = []byte(strings.Repeat("x", size))
				e.puts("q", l)
			}
			got, position := 0, ""
			for {
				list, next, err := e.ListLetters(e.Context(), "q", position, n)
				e.ok(err)
				size := 0
				for _, l := range list {
					size += len(l.Body)
				}
				if len(list) > 1 && size > store.MaxLetterPage {
					e.Fatalf("a page has %d letters of %d bytes", len(list), size)
				}
				got += len(list)
				if position = next; next == "" {
					break
				}
			}
			e.same("how many were listed", got, n)
		},
	},
	{
		name: "deletes letters",
		says: "DeleteLetters deletes letters of a queue, and none that are not there; a letter that was deleted can be put again",
		check: func(e *env) {
			e.fill("q", 20)
			e.puts("p", letterOf("m0001", "p"))
			e.deletes("q", "m0001", "none", "m0002")
			e.deletes("q", "m0001", "m0003")
			e.deletes("q")
			_, err := e.GetLetter(e.Context(), "q", "m0001")
			e.is(err, store.ErrNotFound)
			e.same("how many are left", []int{e.letterCount("q"), len(e.letters("q", 9)), len(e.summaries("q", 9)), e.letterCount("p")}, []int{17, 17, 17, 1})
			e.puts("q", letterOf("m0001", "again"))
			got, err := e.GetLetter(e.Context(), "q", "m0001")
			e.ok(err)
			e.same("the letter", got, letterOf("m0001", "again"))
			e.deletes("p", "m0001")
			queues, err := e.LetterQueues(e.Context())
			e.ok(err)
			e.same("the queues", strings.Join(queues, " "), "q")
			e.same("how many are left", e.letterCount("p"), 0)
		},
	},
	{
		name: "adds a letter once",
		says: "of calls at the same time that put the same letters, each letter is added by one, and is as that one has it",
		check: func(e *env) {
			var calls sync.WaitGroup
			for k := range 4 {
				var batch []store.Letter
				for i := range 40 {
					batch = append(batch, letterOf(fmt.Sprintf("m%d", i), fmt.Sprint(k)))
				}
				calls.Go(func() {
					if err := e.PutLetters(e.Context(), "q", batch); err != nil {
						e.Error(err)
					}
				})
			}
			calls.Wait()
			e.same("how many there are", []int{e.letterCount("q"), len(e.letters("q", 9)), len(e.summaries("q", 9))}, []int{40, 40, 40})
			for _, id := range []string{"m1", "m2"} {
				e.deletes("q", id)
			}
			e.same("how many are left", e.letterCount("q"), 38)
		},
	},
	{
		name: "keeps its own copies",
		says: "what a caller does with a letter it has put or got changes nothing",
		check: func(e *env) {
			l := letterOf("a", "1")
			body := slices.Clone(l.Body)
			e.puts("q", l)
			l.Body[0]++
			for range 2 {
				got, err := e.GetLetter(e.Context(), "q", "a")
				e.ok(err)
				e.same("the body", string(got.Body), string(body))
				got.Body[0]++
			}
		},
	},
	{
		name: "refuses what it cannot keep",
		says: "too many letters, one that is there twice, and ids, bodies, summaries and positions that no store takes are ErrInvalid, and nothing is put",
		check: func(e *env) {
			var many []store.Letter
			var ids []string
			for i := range store.MaxLetters + 1 {
				many, ids = append(many, letterOf(fmt.Sprintf("m%d", i), "x")), append(ids, fmt.Sprintf("m%d", i))
			}
			long := letterOf("long", "x")
			long.Frame = strings.Repeat("x", store.MaxSummaryField+1)
			large := letterOf("large", "x")
			large.Body = make([]byte, store.MaxLetterBody+1)
			var heavy []store.Letter // within all bounds but that of the batch
			for i := range store.MaxLetterBatch/store.MaxLetterBody + 1 {
				l := letterOf(fmt.Sprintf("heavy%d", i), "x")
				l.Body = large.Body[:store.MaxLetterBody]
				heavy = append(heavy, l)
			}
			empty := letterOf("empty", "x")
			empty.Body = nil
			for _, letters := range [][]store.Letter{
				many, heavy, {letterOf("a", "1"), letterOf("a", "1")}, {letterOf("a", "1"), long}, {large}, {empty},
				{letterOf("", "x")}, {letterOf("a\x00", "x")}, {letterOf(strings.Repeat("x", store.MaxID+1), "x")},
			} {
				e.is(e.PutLetters(e.Context(), "q", letters), store.ErrInvalid)
			}
			e.is(e.PutLetters(e.Context(), "", many[:1]), store.ErrInvalid)
			for _, ids := range [][]string{ids, {"a", "a"}, {""}, {"a\x00"}} {
				e.is(e.DeleteLetters(e.Context(), "q", ids), store.ErrInvalid)
			}
			for _, position := range []string{"x", "-1:", "256:", "1", "1:" + strings.Repeat("x", store.MaxID+1)} {
				_, _, err := e.ListLetters(e.Context(), "q", position, 1)
				e.is(err, store.ErrInvalid)
				_, _, err = e.ListSummaries(e.Context(), "q", position, 1)
				e.is(err, store.ErrInvalid)
			}
			_, err := e.GetLetter(e.Context(), "q", "")
			e.is(err, store.ErrInvalid)
			_, err = e.CountLetters(e.Context(), "")
			e.is(err, store.ErrInvalid)
			e.same("how many were put", e.letterCount("q"), 0)
		},
	},
}

// letterOf is a letter whose text is in its body and its summary.
func letterOf(id, text string) store.Letter {
	at := time.UnixMilli(1767323045006)
	return store.Letter{
		LetterSummary: store.LetterSummary{ID: id, Reason: text, Filter: "charge", FirstFailedAt: at, FailedAt: at.Add(time.Minute)},
		Body:          []byte("body " + text),
	}
}

func (e *env) puts(queue string, letters ...store.Letter) {
	e.Helper()
	e.ok(e.PutLetters(e.Context(), queue, letters))
}

func (e *env) deletes(queue string, ids ...string) {
	e.Helper()
	e.ok(e.DeleteLetters(e.Context(), queue, ids))
}

func (e *env) letterCount(queue string) int {
	e.Helper()
	n, err := e.CountLetters(e.Context(), queue)
	e.ok(err)
	return int(n)
}

// fill puts n letters, and returns them as letters and summaries list them.
func (e *env) fill(queue string, n int) (want []string) {
	e.Helper()
	var batch []store.Letter
	for i := range n {
		l := letterOf(fmt.Sprintf("m%04d", i), fmt.Sprint(i))
		batch, want = append(batch, l), append(want, l.ID+"="+l.Reason)
	}
	for part := range slices.Chunk(batch, store.MaxLetters) {
		e.puts(queue, part...)
	}
	return want
}

// letters lists all letters, by id, in pages of limit.
func (e *env) letters(queue string, limit int) []string {
	e.Helper()
	return pages(e, limit, func(position string) (all []string, next string, err error) {
		list, next, err := e.ListLetters(e.Context(), queue, position, limit)
		for _, l := range list {
			if string(l.Body) != "body "+l.Reason {
				e.Fatalf("letter %s has the body %q and the summary of %q", l.ID, l.Body, l.Reason)
			}
			all = append(all, l.ID+"="+l.Reason)
		}
		return all, next, err
	})
}

// summaries lists all summaries likewise.
func (e *env) summaries(queue string, limit int) []string {
	e.Helper()
	return pages(e, limit, func(position string) (all []string, next string, err error) {
		list, next, err := e.ListSummaries(e.Context(), queue, position, limit)
		for _, l := range list {
			all = append(all, l.ID+"="+l.Reason)
		}
		return all, next, err
	})
}

func pages(e *env, limit int, read func(position string) ([]string, string, error)) (all []string) {
	e.Helper()
	for position := ""; ; {
		page, next, err := read(position)
		e.ok(err)
		if len(page) > limit {
			e.Fatalf("a page of %d has %d", limit, len(page))
		}
		all = append(all, page...)
		if position = next; next == "" {
			slices.SortFunc(all, cmp.Compare[string])
			return all
		}
	}
}

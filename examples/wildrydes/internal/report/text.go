package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/examples/wildrydes/internal/money"
)

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	modes := []*Report{r}
	if r.Modes != nil {
		modes = modes[:0]
		for _, mode := range []string{"saga", "pipeline"} {
			if m := r.Modes[mode]; m != nil {
				modes = append(modes, m)
			}
		}
	}
	for _, m := range modes {
		m.text(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) text(b *strings.Builder) {
	line := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	line("")
	line("FARE PROCESSING AS A %s: %d rides in %.1f s, the worker killed %s", strings.ToUpper(r.Mode), r.Rides, r.Seconds, Times(r.Crashes))
	line("")
	r.rides(line)
	list(line, "Compensated because", r.Compensation)
	list(line, "Dead-lettered because", r.DeadLetters)
	r.repair(line)
	r.ledgers(line)
	r.cost(line)
	r.promises(line)
	if r.OK() {
		line("No cent is missing, no saga is open, no message is lost.")
		return
	}
	line("THIS MUST NOT BE:")
	for _, p := range r.problems() {
		line("  - %s", p)
	}
}

// problems are what is wrong, in words.
func (r *Report) problems() []string {
	list := slices.Clone(r.Problems)
	for _, p := range []struct {
		n    int
		what string
	}{
		{r.Open, "rides are still open"},
		{r.Lost, "rides are lost"},
		{r.DeadLetteredAfterRedrive, "rides are dead-lettered after the redrive"},
	} {
		if p.n > 0 {
			list = append(list, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return list
}

func (r *Report) rides(line func(string, ...any)) {
	const row = "  %-34s %16v %12v"
	open := "open"
	if r.Blocked > 0 {
		open = fmt.Sprintf("open (%d blocked)", r.Blocked)
	}
	line(row, "Rides", "before repair", "at the end")
	line(row, "completed", r.Before.Completed, r.After.Completed)
	line(row, "compensated", r.Before.Compensated, r.After.Compensated)
	line(row, "dead-lettered", r.Before.DeadLettered, r.After.DeadLettered)
	line(row, open, r.Before.Open, r.After.Open)
	line(row, "lost", r.Before.Lost, r.After.Lost)
	line(row, "all", r.Before.Rides(), r.After.Rides())
	line("")
}

func list(line func(string, ...any), title string, groups []Group) {
	if len(groups) == 0 {
		return
	}
	line("  %s", title)
	for _, g := range groups {
		line("  %6d  %s", g.Rides, g.What)
	}
	line("")
}

func (r *Report) repair(line func(string, ...any)) {
	line("  Repair: the payment provider was mended, %d blocked sagas were retried,", r.Blocked)
	line("  and %d dead letters were repaired and redriven.", r.Redriven)
	line("")
}

func (r *Report) ledgers(line func(string, ...any)) {
	const row = "  %-34s %6v %12v %6v %12v"
	line("  %-34s %19s %19s", "Ledgers", "before repair", "at the end")
	sum := func(what string, of func(Books) Sum) {
		before, after := of(r.BooksBefore), of(r.Books)
		line(row, what, before.Entries, before.Amount, after.Entries, after.Amount)
	}
	total := func(what string, of func(Books) money.Amount) {
		line(row, what, "", of(r.BooksBefore), "", of(r.Books))
	}
	sum("authorized on cards", func(b Books) Sum { return b.Authorized })
	sum("- voided", func(b Books) Sum { return b.Voided })
	sum("- charged", func(b Books) Sum { return b.Charged })
	total("= still held", Books.Held)
	line("")
	sum("charged to cards", func(b Books) Sum { return b.Charged })
	sum("- refunded", func(b Books) Sum { return b.Refunded })
	total("= paid", Books.Paid)
	sum("credited to accounts", func(b Books) Sum { return b.Credited })
	sum("- debited", func(b Books) Sum { return b.Debited })
	total("= booked", Books.Booked)
	sum("completed fares cost", func(b Books) Sum { return b.Fares })
	total("paid and not due", func(b Books) money.Amount { return b.Paid() - b.Fares.Amount })
	total("booked and not due", func(b Books) money.Amount { return b.Booked() - b.Fares.Amount })
	line("")
}

func (r *Report) cost(line func(string, ...any)) {
	line("  %.2f queue requests a message (%d for %d messages received)", r.QueueRequestsPerMessage, r.QueueRequests, r.QueueMessages)
	if r.RedisScripts > 0 {
		line("  %.1f Redis scripts a saga (%d for %d sagas)", r.RedisScriptsPerSaga, r.RedisScripts, r.After.Completed+r.After.Compensated)
	}
	line("  %.0f fares a second, crashes and waits included; %.0f in the best second", r.SagasPerSecond, r.SagasPerSecondPeak)
	line("")
}

func (r *Report) promises(line func(string, ...any)) {
	line("  %d repeated requests were answered by their idempotency key; %d had a second effect", r.Replayed, r.EffectsDoubled)
	line("  %d actions came after their own undo, and were refused", r.RefusedLate)
	if r.Mode == "saga" {
		line("  %d of %d compensated sagas undid their steps strictly in reverse", r.InReverse, r.After.Compensated)
	}
	line("  %d notices came again, and were known by their ride", r.NoticesAgain)
	if r.Expected > 0 {
		line("  %d of %d rides came to the end that the input expects", r.Expected-r.Unexpected, r.Expected)
	}
	line("")
}

// Times is how often something happens, in words.
func Times(n int) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

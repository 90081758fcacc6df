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
	line("FARE PROCESSING AS A %s: %s in %.1f s, the worker killed %s", strings.ToUpper(r.Mode), Count(r.Rides, "ride"), r.Seconds, Times(r.Crashes))
	line("")
	r.rides(line)
	list(line, "Compensated because", r.Compensation)
	list(line, "Dead-lettered because", r.DeadLetters)
	r.repair(line)
	r.ledgers(line)
	r.cost(line)
	r.promises(line)
	if r.OK() {
		line("No cent is missing, no %s is open, no message is lost.", r.unit())
		return
	}
	line("THIS MUST NOT BE:")
	for _, p := range r.problems() {
		line("  - %s", p)
	}
}

// unit is what a fare is while it is processed.
func (r *Report) unit() string {
	if r.Mode == "saga" {
		return "saga"
	}
	return "ride"
}

// problems are what is wrong, in words.
func (r *Report) problems() []string {
	list := slices.Clone(r.Problems)
	for _, p := range []struct {
		n    int
		what string
	}{
		{r.Open, "still open"},
		{r.Lost, "lost"},
		{r.DeadLetteredAfterRedrive, "dead-lettered after the redrive"},
	} {
		if p.n > 0 {
			list = append(list, fmt.Sprintf("%s %s", Were(p.n, "ride", "is", "are"), p.what))
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
	var done []string
	unrefunded := slices.ContainsFunc(r.DeadLetters, func(g Group) bool { return strings.HasPrefix(g.What, "RefundPayment") })
	if r.Blocked > 0 || unrefunded {
		done = append(done, "the payment provider was mended")
	}
	if r.Blocked > 0 {
		done = append(done, Were(r.Blocked, "blocked saga", "was", "were")+" retried")
	}
	if r.Redriven > 0 {
		done = append(done, fmt.Sprintf("%s of %s %s repaired and redriven",
			Count(r.Redriven, "dead letter"), Count(r.RedrivenRides, "ride"), plural(r.Redriven, "was", "were")))
	}
	line("  Repair")
	if len(done) == 0 {
		line("  there was nothing to repair")
	}
	for _, what := range done {
		line("  %s", what)
	}
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
	line("  Not due is what was taken for rides that did not complete, and is not given")
	line("  back yet: a refund that failed waits for the repair.")
	line("")
}

func (r *Report) cost(line func(string, ...any)) {
	line("  %.2f queue requests a message (%d for %s received)", r.QueueRequestsPerMessage, r.QueueRequests, Count(r.QueueMessages, "message"))
	if r.RedisScripts > 0 {
		line("  %.1f Redis scripts a saga (%d for %s)", r.RedisScriptsPerSaga, r.RedisScripts, Count(r.After.Completed+r.After.Compensated, "saga"))
	}
	line("  %.1f fares a second: %d in %.1f s, crashes and waits included, the repair not", r.SagasPerSecond, r.Before.Completed+r.Before.Compensated, r.SecondsBefore)
	line("  %.0f fares in the best second", r.SagasPerSecondPeak)
	line("")
}

func (r *Report) promises(line func(string, ...any)) {
	line("  %s answered by the idempotency key; %d had a second effect", Were(r.Replayed, "repeated request", "was", "were"), r.EffectsDoubled)
	line("  %s after the action's own undo, and %s refused", Were(r.RefusedLate, "action", "came", "came"), plural(r.RefusedLate, "was", "were"))
	if r.Mode == "saga" {
		line("  %d of %s undid %s steps strictly in reverse", r.InReverse, Count(r.After.Compensated, "compensated saga"), plural(r.After.Compensated, "its", "their"))
	}
	line("  %s again, and %s known by %s ride", Were(r.NoticesAgain, "notice", "came", "came"), plural(r.NoticesAgain, "was", "were"), plural(r.NoticesAgain, "its", "their"))
	if r.Expected > 0 {
		line("  %d of %s came to the end that the input expects", r.Expected-r.Unexpected, Count(r.Expected, "ride"))
	}
	line("")
}

// Count is a number of things, in words: 1 ride, 2 rides.
func Count(n int, thing string) string { return fmt.Sprintf("%d %s", n, plural(n, thing, thing+"s")) }

// Were is a number of things and the verb that follows: 1 ride was, 2 rides were.
func Were(n int, thing, one, more string) string { return Count(n, thing) + " " + plural(n, one, more) }

func plural(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
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

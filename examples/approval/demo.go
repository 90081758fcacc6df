package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/saga"
)

// patience of the demo. It is long beside the milliseconds that an answer takes,
// and short for those who watch nobody answer.
func patience() Patience {
	return Patience{Person: 2 * time.Second, Audit: 30 * time.Second, Heartbeat: 1500 * time.Millisecond, Sweep: 50 * time.Millisecond}
}

// A scene is one claim, and how those who are asked answer.
type scene struct {
	title string
	claim Claim
	play  func(ctx context.Context, a *actors) error
	ends  string // how it stands in the register at last
}

func scenes() []scene {
	return []scene{
		{"Nobody is asked about a small sum", Claim{Employee: "Ann", Purpose: "lunch with a client", Cents: 18_50}, nobody, "paid"},
		{"The manager approves, on the web page", Claim{Employee: "Ben", Purpose: "a train ticket", Cents: 240_00}, approvesByHTTP, "paid"},
		{"The manager says no", Claim{Employee: "Cleo", Purpose: "a standing desk", Cents: 890_00}, refuses,
			"rejected: AskManager failed: we have one in store"},
		{"The manager answers by message, and then once more", Claim{Employee: "Dan", Purpose: "a conference", Cents: 450_00}, answersTwice, "paid"},
		{"The worker is restarted while it waits", Claim{Employee: "Eve", Purpose: "a phone", Cents: 700_00}, restart, "paid"},
		{"The claim is withdrawn while it waits", Claim{Employee: "Finn", Purpose: "a hotel", Cents: 320_00}, withdraws,
			"rejected: cancelled: the meeting was called off"},
		{"It is approved, and the bank cannot pay", Claim{Employee: "Mallory", Purpose: "books", Cents: 75_00}, approvesByHTTP,
			"rejected: Pay failed: Mallory's account is closed"},
		{"The manager does not answer, so the director is asked", Claim{Employee: "Gus", Purpose: "a course", Cents: 980_00}, directorApproves, "paid"},
		{"Nobody answers", Claim{Employee: "Hal", Purpose: "a new car", Cents: 999_00}, nobody,
			"rejected: AskDirector failed: nobody has completed it in time"},
		{"The auditor takes long, and is heard of", Claim{Employee: "Ivy", Purpose: "a server", Cents: 9_500_00}, auditorIsHeardOf, "paid"},
		{"The auditor is heard of no more", Claim{Employee: "Jo", Purpose: "a trade fair", Cents: 14_000_00}, auditorIsLost,
			"rejected: AskDirector failed: ask me next year"},
	}
}

// demo plays all scenes side by side, tells one after the other, and reports. It
// reports false if something is not as it should be.
func demo(ctx context.Context, h *house, s *stories, post poster, out io.Writer) (ok bool, err error) {
	list := scenes()
	id := func(i int) string { return fmt.Sprintf("claim-%d", i+1) }
	g, playing := errgroup.WithContext(ctx)
	for i, scene := range list {
		g.Go(func() error {
			defer s.end(id(i))
			a := &actors{house: h, stories: s, post: post, claim: id(i)}
			if err := a.run(playing, scene); err != nil {
				return fmt.Errorf("%s: %w", scene.title, err)
			}
			return nil
		})
	}
	for i, scene := range list {
		fmt.Fprintf(out, "%d. %s\n", i+1, scene.title)
		if s.follow(playing, id(i), out) != nil {
			break // g knows why
		}
		fmt.Fprintln(out)
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	var wrong []string
	for i, scene := range list {
		if got := h.office.register[id(i)]; got != scene.ends {
			wrong = append(wrong, fmt.Sprintf("%s is %q, want %q", id(i), got, scene.ends))
		}
	}
	return report(ctx, h, wrong, out)
}

// actors are those who take part in a scene.
type actors struct {
	house   *house
	stories *stories
	post    poster
	claim   string
}

// A poster posts a form to the desk.
type poster func(ctx context.Context, form url.Values) (status int, err error)

func (a *actors) say(format string, args ...any) {
	a.stories.tell(a.claim, fmt.Sprintf(format, args...))
}

func (a *actors) run(ctx context.Context, s scene) error {
	if _, err := a.house.saga.Start(ctx, a.house.client, a.claim, s.claim); err != nil {
		return err
	}
	if err := s.play(ctx, a); err != nil {
		return err
	}
	x, err := a.house.client.Wait(ctx, a.claim)
	if err != nil {
		return err
	}
	status, _ := a.house.office.stands(x)
	a.say("=> %s", status)
	return nil
}

// answers posts an answer to the desk, as the page does.
func (a *actors) answers(ctx context.Context, r request, verdict, why string) error {
	status, err := a.post(ctx, url.Values{"token": {r.Token}, "by": {r.To}, "verdict": {verdict}, "why": {why}})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the desk says %d %s", status, http.StatusText(status))
	}
	return err
}

// inVain posts an answer that must be refused.
func (a *actors) inVain(ctx context.Context, r request, when string) error {
	status, err := a.post(ctx, url.Values{"token": {r.Token}, "by": {r.To}, "verdict": {"approve"}})
	if err != nil {
		return err
	}
	a.say("the %s approves on the web page, %s: %d %s", r.To, when, status, http.StatusText(status))
	if status != http.StatusConflict {
		return errors.New("an answer that nobody waits for was taken")
	}
	return nil
}

func nobody(context.Context, *actors) error { return nil }

func approvesByHTTP(ctx context.Context, a *actors) error {
	r, err := a.house.office.asked(ctx, a.claim, "manager")
	if err != nil {
		return err
	}
	a.say("the manager approves on the web page")
	return a.answers(ctx, r, "approve", "")
}

func refuses(ctx context.Context, a *actors) error {
	r, err := a.house.office.asked(ctx, a.claim, "manager")
	if err != nil {
		return err
	}
	a.say("the manager refuses on the web page")
	return a.answers(ctx, r, "refuse", "we have one in store")
}

// answersTwice sends the answer to a queue, from whatever program in whatever
// language.
func answersTwice(ctx context.Context, a *actors) error {
	r, err := a.house.office.asked(ctx, a.claim, "manager")
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"waybill": 1, "complete": r.Token, "result": Approval{By: r.To}})
	if err != nil {
		return err
	}
	a.say("the manager approves by a message to the queue")
	msg := message.NewMessage(a.claim+"/answer", body)
	msg.SetContext(ctx)
	if err := a.house.publisher.Publish(answers, msg); err != nil {
		return err
	}
	if _, err := a.house.client.Wait(ctx, a.claim); err != nil {
		return err
	}
	return a.inVain(ctx, r, "once more")
}

func restart(ctx context.Context, a *actors) error {
	r, err := a.house.office.asked(ctx, a.claim, "manager")
	if err != nil {
		return err
	}
	if err := a.house.stopWorker(); err != nil {
		return err
	}
	a.say("the worker has stopped")
	a.say("the manager approves on the web page")
	if err := a.answers(ctx, r, "approve", ""); err != nil {
		return err
	}
	a.say("another worker starts")
	return a.house.startWorker()
}

func withdraws(ctx context.Context, a *actors) error {
	r, err := a.house.office.asked(ctx, a.claim, "manager")
	if err != nil {
		return err
	}
	a.say("Finn withdraws it")
	if err := a.house.client.Cancel(ctx, a.claim, saga.Order{By: "Finn", Note: "the meeting was called off"}); err != nil {
		return err
	}
	if _, err := a.house.client.Wait(ctx, a.claim); err != nil {
		return err
	}
	return a.inVain(ctx, r, "too late")
}

func directorApproves(ctx context.Context, a *actors) error {
	late, err := a.house.office.asked(ctx, a.claim, "manager")
	if err != nil {
		return err
	}
	r, err := a.house.office.asked(ctx, a.claim, "director")
	if err != nil {
		return err
	}
	if err := a.inVain(ctx, late, "too late"); err != nil {
		return err
	}
	a.say("the director approves on the web page")
	return a.answers(ctx, r, "approve", "")
}

// auditorIsHeardOf takes longer than the heartbeat allows without a sign of life.
func auditorIsHeardOf(ctx context.Context, a *actors) error {
	r, err := a.house.office.asked(ctx, a.claim, "auditor")
	if err != nil {
		return err
	}
	for range 5 {
		a.say("the auditor is looking at it")
		if err := a.answers(ctx, r, "busy", ""); err != nil {
			return err
		}
		if err := pause(ctx, patience().Heartbeat/3); err != nil {
			return err
		}
	}
	a.say("the auditor approves on the web page")
	return a.answers(ctx, r, "approve", "")
}

func auditorIsLost(ctx context.Context, a *actors) error {
	r, err := a.house.office.asked(ctx, a.claim, "auditor")
	if err != nil {
		return err
	}
	a.say("the auditor is looking at it")
	if err := a.answers(ctx, r, "busy", ""); err != nil {
		return err
	}
	if r, err = a.house.office.asked(ctx, a.claim, "director"); err != nil {
		return err
	}
	a.say("the director refuses on the web page")
	return a.answers(ctx, r, "refuse", "ask me next year")
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// report adds up, and says what is not as it should be.
func report(ctx context.Context, h *house, wrong []string, out io.Writer) (ok bool, err error) {
	counts, err := h.client.Count(ctx, "claim")
	if err != nil {
		return false, err
	}
	h.office.mu.Lock()
	defer h.office.mu.Unlock()
	open := counts[saga.Running] + counts[saga.Blocked]
	spent, paid := h.office.budget.total(), h.office.bank.total()
	fmt.Fprintf(out, "%d claims: %d paid, %d rejected, %d open\n", len(h.office.register), counts[saga.Completed], counts[saga.Compensated], open)
	fmt.Fprintf(out, "the budget has spent %s, the bank has paid %s\n", euros(spent), euros(paid))
	if open > 0 {
		wrong = append(wrong, fmt.Sprintf("%d claims are open", open))
	}
	if spent != paid {
		wrong = append(wrong, "budget and bank differ by "+euros(spent-paid))
	}
	if len(wrong) > 0 {
		fmt.Fprintln(out, "THIS MUST NOT BE: "+strings.Join(wrong, "; "))
	}
	return len(wrong) == 0, nil
}

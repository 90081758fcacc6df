package main

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/waybill-dev/waybill/saga"
)

// A desk is where approvers answer over HTTP. Whoever has the token of a task may
// complete it; that the token is right, and is used once, is for the client to
// see to.
//
// GET / is the approvers' mailbox, tokens and all. It stands for the mail that each
// would get, and belongs on the loopback interface alone.
type desk struct {
	house *house
}

// mostForm bounds what is read of a form, in bytes.
const mostForm = 64 << 10

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"euros": euros}).Parse(pageText))

func (d *desk) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", d.show)
	mux.HandleFunc("POST /claims", d.file)
	mux.HandleFunc("POST /answer", d.answer)
	safe := http.NewCrossOriginProtection().Handler(mux) // no other site's page posts here
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback(r.Host) { // a name that was made to lead here
			http.Error(w, "this is for this machine alone", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, mostForm)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
		safe.ServeHTTP(w, r)
	})
}

// loopback reports whether an address, with a port or without, is on this
// machine.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// answer takes an approver's answer to the saga.
func (d *desk) answer(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		d.reply(w, http.StatusBadRequest, "That form cannot be read.")
		return
	}
	token, by, why := r.PostFormValue("token"), r.PostFormValue("by"), r.PostFormValue("why")
	var err error
	switch verdict := r.PostFormValue("verdict"); {
	case verdict == "approve" && by == "":
		d.reply(w, http.StatusBadRequest, "An approval says whose it is.")
		return
	case verdict == "approve":
		err = d.house.client.Complete(r.Context(), token, Approval{By: by})
	case verdict == "refuse" && why == "":
		d.reply(w, http.StatusBadRequest, "A refusal says why.")
		return
	case verdict == "refuse":
		err = d.house.client.Fail(r.Context(), token, Refused, why)
	case verdict == "busy":
		err = d.house.client.Heartbeat(r.Context(), token)
	default:
		d.reply(w, http.StatusBadRequest, "The verdict is approve, refuse or busy.")
		return
	}
	switch {
	case errors.Is(err, saga.ErrToken):
		d.reply(w, http.StatusConflict, "Thank you, but this needs no answer any more: it has been answered, was withdrawn, or its time is over.")
	case err != nil:
		d.house.log.Error("an answer was lost", "error", err)
		d.reply(w, http.StatusInternalServerError, "That did not work. Please try again.")
	default:
		d.reply(w, http.StatusOK, "Thank you.")
	}
}

// file files a claim.
func (d *desk) file(w http.ResponseWriter, r *http.Request) {
	cents, err := parseEuros(r.PostFormValue("amount"))
	if err != nil {
		d.reply(w, http.StatusBadRequest, err.Error())
		return
	}
	c := Claim{Employee: r.PostFormValue("employee"), Purpose: r.PostFormValue("purpose"), Cents: cents}
	if err := c.Validate(); err != nil {
		d.reply(w, http.StatusBadRequest, err.Error())
		return
	}
	// A form that is sent twice has one id, so it is one claim.
	if _, err := d.house.saga.Start(r.Context(), d.house.client, r.PostFormValue("id"), c); err != nil {
		d.reply(w, http.StatusConflict, err.Error())
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// parseEuros reads an amount such as 12, or 12.50.
func parseEuros(text string) (cents int64, err error) {
	whole, part, _ := strings.Cut(strings.TrimSpace(text), ".")
	if len(part) < 2 {
		part += strings.Repeat("0", 2-len(part))
	}
	n, err := strconv.ParseUint(whole+part, 10, 40)
	if err != nil || whole == "" || len(part) != 2 {
		return 0, fmt.Errorf("the amount is %q, want one such as 12.50", text)
	}
	return int64(n), nil
}

// A view is what the page shows.
type view struct {
	Said   string // an answer to a form
	ID     string // of the next claim
	Claims []claimView
	Redis  string // for the command line
}

type claimView struct {
	ID, Status string
	Claim      Claim
	Request    *request // to be answered
}

func (d *desk) show(w http.ResponseWriter, r *http.Request) {
	claims, err := d.house.claims(r.Context())
	if err != nil {
		d.house.log.Error("the claims cannot be listed", "error", err)
		d.reply(w, http.StatusInternalServerError, "That did not work. Please try again.")
		return
	}
	d.render(w, http.StatusOK, view{ID: d.house.nextID(), Claims: claims, Redis: d.house.stack.RedisAddr})
}

func (d *desk) reply(w http.ResponseWriter, status int, said string) {
	d.render(w, status, view{Said: said})
}

func (d *desk) render(w http.ResponseWriter, status int, v view) {
	var b strings.Builder
	if err := page.Execute(&b, v); err != nil {
		d.house.log.Error("the page cannot be made", "error", err)
		http.Error(w, "That did not work.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(b.String())) // who has gone misses nothing
}

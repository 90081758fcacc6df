package memstore

import (
	"slices"

	"github.com/waybill-dev/waybill/store"
)

// A mailbox is the mail of one execution.
type mailbox struct {
	mail     []letter // unread
	posted   int64    // mails in all
	absorbed int64
	seen     map[string]bool
	order    []string // of seen, oldest first
}

type letter struct {
	id   string
	body []byte
	// until is when the mail is dropped, unless its execution was started.
	until int64
}

// add puts mail at the end, and forgets the oldest id.
func (b *mailbox) add(l letter) {
	b.posted++
	b.mail = append(b.mail, l)
	if b.seen == nil {
		b.seen = make(map[string]bool)
	}
	b.seen[l.id] = true
	b.order = append(b.order, l.id)
	if len(b.order) > store.MailsRemembered {
		delete(b.seen, b.order[0])
		b.order = b.order[1:]
	}
}

// mailAfter returns the mail after number read. Mail that a commit absorbed is
// not handed over again, even to a caller that has not read it.
func (b *mailbox) mailAfter(read int64) store.Mailbox {
	read = max(read, b.absorbed)
	box := store.Mailbox{Read: read}
	for _, l := range b.mail[min(read-b.absorbed, int64(len(b.mail))):] {
		box.Mail = append(box.Mail, append([]byte{}, l.body...))
		box.Read++
	}
	return box
}

// expire drops the first mails whose time is over, and their ids. A mailbox in
// which nothing is left begins anew.
func (b *mailbox) expire(now int64) {
	over := slices.IndexFunc(b.mail, func(l letter) bool { return l.until > now })
	if over < 0 {
		*b = mailbox{}
		return
	}
	for _, l := range b.mail[:over] {
		delete(b.seen, l.id)
		b.order = slices.DeleteFunc(b.order, func(id string) bool { return id == l.id })
	}
	b.mail = b.mail[over:]
	b.absorbed += int64(over)
}

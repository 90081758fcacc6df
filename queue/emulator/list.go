package emulator

// A list holds things in order, linked through themselves so that any can leave.
type list[T any, P linked[T]] struct {
	head, tail *T
	n          int
}

// links are what a thing needs to be in a list.
type links[T any] struct{ prev, next *T }

// linked is what can be in a list.
type linked[T any] interface {
	*T
	links() *links[T]
}

type (
	messageList = list[message, *message]
	lineList    = list[line, *line]
)

func (l *list[T, P]) pushBack(x *T) { l.insert(x, nil) }

// insert puts x before another, or at the end if that is nil.
func (l *list[T, P]) insert(x, before *T) {
	prev := l.tail
	if before != nil {
		prev = P(before).links().prev
		P(before).links().prev = x
	} else {
		l.tail = x
	}
	if prev != nil {
		P(prev).links().next = x
	} else {
		l.head = x
	}
	*P(x).links() = links[T]{prev, before}
	l.n++
}

func (l *list[T, P]) remove(x *T) {
	at := P(x).links()
	if at.prev != nil {
		P(at.prev).links().next = at.next
	} else {
		l.head = at.next
	}
	if at.next != nil {
		P(at.next).links().prev = at.prev
	} else {
		l.tail = at.prev
	}
	*at = links[T]{}
	l.n--
}

// find returns the first of which is says yes, or nil.
func (l *list[T, P]) find(is func(*T) bool) *T {
	for x := l.head; x != nil; x = P(x).links().next {
		if is(x) {
			return x
		}
	}
	return nil
}

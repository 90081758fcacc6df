package emulator

// timeHeap orders messages by a time, earliest first, and by arrival where it is the same. at names the time;
// pos is where the message keeps its place in this heap, so that it can be taken from the middle.
type timeHeap struct {
	items []*message
	at    func(*message) age
	pos   func(*message) *int32
}

func (h *timeHeap) len() int { return len(h.items) }

// first returns the earliest message, or nil.
func (h *timeHeap) first() *message {
	if len(h.items) == 0 {
		return nil
	}
	return h.items[0]
}

func (h *timeHeap) push(m *message) {
	h.items = append(h.items, m)
	*h.pos(m) = int32(len(h.items) - 1)
	h.up(len(h.items) - 1)
}

func (h *timeHeap) remove(m *message) {
	i, last := int(*h.pos(m)), len(h.items)-1
	if i != last {
		h.swap(i, last)
	}
	h.items[last] = nil
	h.items = h.items[:last]
	*h.pos(m) = -1
	if i != last {
		h.fix(i)
	}
}

func (h *timeHeap) fix(i int) {
	if !h.down(i) {
		h.up(i)
	}
}

func (h *timeHeap) less(i, j int) bool {
	a, b := h.items[i], h.items[j]
	if at, bt := h.at(a), h.at(b); at != bt {
		return at < bt
	}
	return a.number < b.number
}

func (h *timeHeap) swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	*h.pos(h.items[i]) = int32(i)
	*h.pos(h.items[j]) = int32(j)
}

func (h *timeHeap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(i, parent) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *timeHeap) down(i int) (moved bool) {
	for {
		child := 2*i + 1
		if child >= len(h.items) {
			return moved
		}
		if right := child + 1; right < len(h.items) && h.less(right, child) {
			child = right
		}
		if !h.less(child, i) {
			return moved
		}
		h.swap(i, child)
		i, moved = child, true
	}
}

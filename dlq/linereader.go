package dlq

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A lineReader reads the lines of an export, and no more of a line than there
// may be.
type lineReader struct {
	r      *bufio.Reader
	number int
	line   []byte
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next line that is not blank, until the next call, and its
// number; or io.EOF. A line without an end is one.
func (l *lineReader) next() (text []byte, number int, err error) {
	for {
		l.line = l.line[:0]
		l.number++
		for {
			part, err := l.r.ReadSlice('\n')
			if len(l.line)+len(part) > MaxLine+len("\r\n") {
				return nil, l.number, fmt.Errorf("line %d has more than %d bytes", l.number, MaxLine)
			}
			l.line = append(l.line, part...)
			if err == nil || errors.Is(err, io.EOF) && len(l.line) > 0 {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return nil, l.number, err
			}
		}
		if text := bytes.TrimSpace(l.line); len(text) > 0 {
			return text, l.number, nil
		}
	}
}

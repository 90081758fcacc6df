package rides

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds a line of the input.
const maxLine = 64 << 10

// maxErrors bounds the mistakes that are reported at once.
const maxErrors = 10

// Read reads rides as JSON Lines: one object a line, empty lines and lines
// that begin with # left out. It reports what is wrong by the number of the
// line.
func Read(r io.Reader) ([]Ride, error) {
	var list []Ride
	var errs []error
	rideLine, fareIDs := map[string]int{}, map[string]bool{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() && len(errs) < maxErrors {
		n++
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		ride, err := parse(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %s", n, oneLine(err)))
			continue
		}
		if first, ok := rideLine[ride.RideID]; ok {
			errs = append(errs, fmt.Errorf(`line %d: rideId %q is that of line %d; give each ride an id of its own, or set "copies" to send its message more than once`, n, ride.RideID, first))
			continue
		}
		rideLine[ride.RideID] = n
		ride.Reused = fareIDs[ride.FareID]
		fareIDs[ride.FareID] = true
		list = append(list, ride)
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("line %d: it has more than %d bytes", n+1, maxLine)
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 && len(list) == 0 {
		errs = append(errs, errors.New("there are no rides in it"))
	}
	return list, errors.Join(errs...)
}

func parse(text []byte) (Ride, error) {
	var ride Ride
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ride); err != nil {
		return ride, fmt.Errorf("not a ride: %w", err)
	}
	if dec.More() {
		return ride, errors.New("more than one JSON value")
	}
	if ride.RideID == "" {
		ride.RideID = ride.FareID
	}
	return ride, ride.check()
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// Write writes rides as Read reads them.
func Write(w io.Writer, list []Ride) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, ride := range list {
		if err := enc.Encode(ride); err != nil {
			return err
		}
	}
	return nil
}

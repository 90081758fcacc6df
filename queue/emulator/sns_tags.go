package emulator

import (
	"maps"
	"net/http"
	"slices"
)

// tags returns the tags of "Tags.member.1.Key" and "Tags.member.1.Value".
func (f form) tags() map[string]string {
	out := make(map[string]string)
	for _, p := range f.list("Tags.member") {
		out[f.Get(p+".Key")] = f.Get(p + ".Value")
	}
	return out
}

func snsTagsFault(tags map[string]string) *Error {
	if len(tags) > maxTags {
		return &Error{Code: "TagLimitExceeded", Message: "Could not complete request: tag quota of per resource exceeded"}
	}
	for key, value := range tags {
		if key == "" || len(key) > maxTagKeyLen || len(value) > maxTagValueLen {
			return errInvalidParameter("Tags Reason: keys have 1 to 128 characters, values at most 256")
		}
	}
	return nil
}

// tagged returns the topic that a tagging request is about.
func (s *Server) tagged(f form) (*topic, *Error) {
	t, err := s.topic(f.Get("ResourceArn"))
	if err != nil && err.Code == "NotFound" {
		return nil, &Error{Code: "ResourceNotFound", Message: "Resource does not exist", Status: http.StatusNotFound}
	}
	return t, err
}

func (s *Server) tagResource(c *call, f form) (struct{}, *Error) {
	t, err := s.tagged(f)
	if err != nil {
		return struct{}{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	tags := maps.Clone(t.tags)
	maps.Copy(tags, f.tags())
	if err := snsTagsFault(tags); err != nil {
		return struct{}{}, err
	}
	t.tags = tags
	return struct{}{}, nil
}

func (s *Server) untagResource(c *call, f form) (struct{}, *Error) {
	t, err := s.tagged(f)
	if err != nil {
		return struct{}{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range f.list("TagKeys.member") {
		delete(t.tags, f.Get(p))
	}
	return struct{}{}, nil
}

type snsTag struct{ Key, Value string }

type listTagsOutput struct {
	Tags []snsTag `xml:"Tags>member"`
}

func (s *Server) listTagsForResource(c *call, f form) (*listTagsOutput, *Error) {
	t, err := s.tagged(f)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	out := new(listTagsOutput)
	for _, key := range slices.Sorted(maps.Keys(t.tags)) {
		out.Tags = append(out.Tags, snsTag{key, t.tags[key]})
	}
	return out, nil
}

package emulator

import "maps"

// Bounds of tags: SQS developer guide, "Amazon SQS cost allocation tags"; the SNS API reference (Tag)
// has the same.
const (
	maxTags        = 50
	maxTagKeyLen   = 128
	maxTagValueLen = 256
)

func tagsFault(tags map[string]string) *Error {
	if len(tags) > maxTags {
		return errInvalidParameterValue("Too many tags added for queue: at most 50 are allowed.")
	}
	for key, value := range tags {
		if key == "" || len(key) > maxTagKeyLen || len(value) > maxTagValueLen {
			return errInvalidParameterValue("Tag key %q is invalid: keys have 1 to 128 characters, values at most 256.", clip(key))
		}
	}
	return nil
}

type tagQueueInput struct {
	queueRef
	Tags map[string]string
}

func (s *Server) tagQueue(c *call, in *tagQueueInput) (nothing, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nothing{}, err
	}
	if len(in.Tags) == 0 {
		return nothing{}, errMissingParameter("Tags")
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	tags := make(map[string]string, len(q.tags)+len(in.Tags))
	maps.Copy(tags, q.tags)
	maps.Copy(tags, in.Tags)
	if err := tagsFault(tags); err != nil {
		return nothing{}, err
	}
	q.tags = tags
	return nothing{}, nil
}

type untagQueueInput struct {
	queueRef
	TagKeys []string
}

func (s *Server) untagQueue(c *call, in *untagQueueInput) (nothing, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nothing{}, err
	}
	if len(in.TagKeys) == 0 {
		return nothing{}, errMissingParameter("TagKeys")
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, key := range in.TagKeys {
		delete(q.tags, key)
	}
	return nothing{}, nil
}

type listQueueTagsInput struct{ queueRef }

type tagsOutput struct {
	Tags map[string]string `json:",omitempty"`
}

func (s *Server) listQueueTags(c *call, in *listQueueTagsInput) (*tagsOutput, *Error) {
	q, err := s.queue(c, in.queueRef)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return &tagsOutput{maps.Clone(q.tags)}, nil
}

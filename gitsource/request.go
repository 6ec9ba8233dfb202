package gitsource

import (
	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/gitsource/fetch"
)

// request is a wish, by the annotation, that a remote be asked at once.
type request struct {
	member *fetch.Member
	value  string // of the annotation
}

// request has the remote asked if somebody wants that and it was not done yet.
func (s *source) request() {
	r := request{s.follower.member, s.object.Annotations[v1alpha1.AnnotationFetch]}
	if r.member == nil || r.value == "" || r.value == s.status.LastHandledFetch || r == s.requested {
		return
	}
	s.requested = r
	r.member.Now(func() { s.tell(func(p *pending) { p.fetched, p.refs = &r, true }) })
}

// acknowledge says in the status that the repository was asked, once it was
// looked at. One on this machine is, whenever the source is.
func (s *source) acknowledge(fetched *request) {
	switch {
	case s.follower.member == nil:
		s.status.LastHandledFetch = s.object.Annotations[v1alpha1.AnnotationFetch]
	case fetched != nil && fetched.member == s.follower.member:
		s.status.LastHandledFetch = fetched.value
	}
}

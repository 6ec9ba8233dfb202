package gitsource

import (
	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// maxWrites is how many writes are kept for a busy source; beyond it, the
// source looks at everything instead.
const maxWrites = 10_000

// pending is what a source has not looked at yet.
type pending struct {
	object *v1alpha1.GitSource // the newest, when it changed
	refs   bool                // a reference may have moved
	opened bool                // the repository may have come or gone
	all    bool                // every object must be compared with git
	writes []txn.Write         // of objects in the inventory
	hooks  []txn.Write         // of objects that are watched for hooks
	looked []txn.Write         // of objects that charts have looked up
	relook bool                // some of them are different
	moved  bool                // other sources ask for something else
	plans  []string            // Plans that were asked for
	// forgiven are Releases that somebody has deleted: their commits are no
	// longer quarantined.
	forgiven []string
	environs bool      // something has happened to an environment
	approved bool      // somebody has approved a plan, or taken that back
	asked    *asked    // a commit in spite of windows
	reported *reported // how a report was written
	forged   *forged   // how telling the forge went
	reverted *reverted // what has become of a revert
	fetched  *request  // a fetch that was asked for has ended
}

func (p *pending) write(w txn.Write) {
	if len(p.writes) >= maxWrites {
		p.writes, p.all = nil, true
	}
	if !p.all {
		p.writes = append(p.writes, w)
	}
}

func (p *pending) look(w txn.Write) {
	if len(p.looked) >= maxWrites {
		p.looked, p.relook = nil, true
	}
	if !p.relook {
		p.looked = append(p.looked, w)
	}
}

// tell changes what is pending and wakes the source. It never blocks for long.
func (s *source) tell(f func(*pending)) {
	s.mu.Lock()
	f(&s.pending)
	s.mu.Unlock()
	poke(s.wake)
}

func (s *source) take() pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending
	s.pending = pending{}
	return p
}

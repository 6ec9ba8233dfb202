package txnhttp

import (
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/remote"
)

// commit plans once more, makes sure that nothing differs from what the caller
// has seen, and writes.
func (s *Server) commit(w http.ResponseWriter, r *http.Request, identity txn.Identity) error {
	var q remote.Commit
	if err := question(w, r, &q); err != nil {
		return err
	}
	if len(q.Planned) != len(q.Changes) {
		return apierrors.NewBadRequest("a commit needs what was planned for each of its changes")
	}
	result, err := s.planned(r.Context(), identity, q.Changes)
	if err != nil {
		return err
	}
	if refs := moved(result, &q); len(refs) > 0 {
		s.Committed(w, result, nil, &txn.ConflictError{Refs: refs})
		return answer(w, remote.Committed{Conflict: refs})
	}
	options := txn.CommitOptions{Epoch: q.Epoch, Independent: q.Independent, Notes: q.Notes}
	done, err := s.DB.Commit(r.Context(), result, options)
	s.Committed(w, result, done, err)
	var conflict *txn.ConflictError
	switch {
	case errors.As(err, &conflict):
		return answer(w, remote.Committed{Conflict: conflict.Refs})
	case errors.Is(err, txn.ErrEpoch):
		return answer(w, remote.Committed{EpochOver: true})
	case err != nil:
		return err
	}
	return s.committed(w, done)
}

// moved are the references of which the plan now says something else than what
// the caller has seen. For independent changes a failed one says so itself.
func moved(result *txn.Result, q *remote.Commit) []txn.Ref {
	var refs []txn.Ref
	for i, o := range result.Outcomes {
		before := ""
		if o.Before != nil {
			before = o.Before.GetResourceVersion()
		}
		if o.Err != nil && q.Independent {
			continue
		}
		if o.Err != nil || o.Operation != q.Planned[i].Operation || before != q.Planned[i].Before {
			refs = append(refs, o.Change.Ref)
		}
	}
	seen := map[txn.Ref]int64{}
	for _, c := range result.Compares {
		seen[c.Ref] = c.Revision
	}
	for _, c := range q.Compares {
		if now, ok := seen[c.Ref]; !ok || now != c.Revision {
			refs = append(refs, c.Ref)
		}
	}
	return refs
}

func (s *Server) committed(w http.ResponseWriter, done *txn.Committed) error {
	out := remote.Committed{Revision: done.Revision, Failed: map[int]remote.Failure{}}
	for _, o := range done.Objects {
		b, err := s.Codec.Encode(o)
		if err != nil {
			return err
		}
		if b == nil {
			b = []byte("null")
		}
		out.Objects = append(out.Objects, b)
	}
	for i, err := range done.Failed {
		var conflict *txn.ConflictError
		if errors.As(err, &conflict) {
			out.Failed[i] = remote.Failure{Conflict: conflict.Refs}
			continue
		}
		out.Failed[i] = remote.Failure{Status: remote.EncodeError(err)}
	}
	return answer(w, out)
}

func (s *Server) notes(w http.ResponseWriter, r *http.Request, _ txn.Identity) error {
	var q remote.Notes
	if err := question(w, r, &q); err != nil {
		return err
	}
	notes, err := s.DB.Notes(r.Context(), q.Prefix)
	if err != nil {
		return err
	}
	return answer(w, notes)
}

func (s *Server) acquire(w http.ResponseWriter, r *http.Request, _ txn.Identity) error {
	var q remote.Acquire
	if err := question(w, r, &q); err != nil {
		return err
	}
	if q.Name == "" {
		return apierrors.NewBadRequest("an epoch needs a name")
	}
	epoch, err := s.DB.Acquire(r.Context(), q.Name)
	if err != nil {
		return err
	}
	return answer(w, epoch)
}

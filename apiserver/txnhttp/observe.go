package txnhttp

import (
	"encoding/json"
	"net/http"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/remote"
)

// observeBuffer is how many writes a client may be behind before it is told
// that it has missed some.
const observeBuffer = 1024

// observe streams writes until the client goes away.
func (s *Server) observe(w http.ResponseWriter, r *http.Request, _ txn.Identity) error {
	queue := make(chan txn.Write, observeBuffer)
	lost := make(chan struct{}, 1)
	stop := s.DB.Observe(func(one txn.Write) {
		select {
		case queue <- one:
		default:
			select {
			case lost <- struct{}{}:
			default: // it will be told already
			}
		}
	})
	defer stop()
	w.Header().Set("Content-Type", "application/json;stream=lines")
	control := http.NewResponseController(w)
	lines := json.NewEncoder(w)
	// The first line says that observing has begun, and that the past is not
	// part of it.
	if lines.Encode(remote.WriteLine{}) != nil || control.Flush() != nil {
		return nil
	}
	for {
		var line remote.WriteLine
		select {
		case <-r.Context().Done():
			return nil
		case <-lost:
		case one := <-queue:
			var err error
			if line, err = s.line(one); err != nil {
				s.Log.Error("encode an observed write", "object", one.Ref.String(), "error", err)
				line = remote.WriteLine{}
			}
		}
		if lines.Encode(line) != nil || control.Flush() != nil {
			return nil // the client is gone
		}
	}
}

func (s *Server) line(one txn.Write) (remote.WriteLine, error) {
	before, err := s.Codec.Encode(one.Before)
	if err != nil {
		return remote.WriteLine{}, err
	}
	after, err := s.Codec.Encode(one.After)
	if err != nil {
		return remote.WriteLine{}, err
	}
	return remote.WriteLine{Identity: one.Identity, Ref: one.Ref, Subresource: one.Subresource, FieldManager: one.FieldManager,
		Before: before, After: after, Revision: one.Revision, Time: one.Time}, nil
}

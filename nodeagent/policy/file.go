package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/headway-sh/headway/internal/pki"
)

// saveEvery is how often what was heard is written to the disk at most.
const saveEvery = 10 * time.Second

// kept is what a node that starts without a server goes by.
type kept struct {
	Policies []*networkingv1.NetworkPolicy `json:"policies"`
	Slices   []*discoveryv1.EndpointSlice  `json:"slices"`
}

// load reads what the last life has kept.
func (e *Enforcer) load() error {
	text, err := os.ReadFile(e.config.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil {
		return fmt.Errorf("%s: %w", e.config.File, err)
	}
	e.replacePolicies(k.Policies)
	e.replaceSlices(k.Slices)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unsaved = false
	return nil
}

// save writes what was heard if it is time for it, and gives when to ask again;
// nil: there is nothing to write.
func (e *Enforcer) save() <-chan time.Time {
	k, wait := e.toSave()
	if k == nil {
		return wait
	}
	text, err := json.Marshal(k)
	if err == nil {
		err = pki.WriteFile(e.config.File, text, 0o600)
	}
	if err != nil {
		e.config.Logger.Warn("network policies not kept for the next start", "err", err)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.unsaved = true
		return e.config.Clock.After(saveEvery)
	}
	return nil
}

// toSave is what is to be written now, which nobody changes and which is encoded
// while others go on; else when to ask again.
func (e *Enforcer) toSave() (*kept, <-chan time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.config.Clock.Now()
	if !e.unsaved || !e.heard[policyList] || !e.heard[sliceList] {
		return nil, nil
	}
	if wait := saveEvery - now.Sub(e.saved); wait > 0 {
		return nil, e.config.Clock.After(wait)
	}
	e.saved, e.unsaved = now, false
	var k kept
	for _, o := range e.policies {
		k.Policies = append(k.Policies, o)
	}
	for _, o := range e.slices {
		k.Slices = append(k.Slices, o)
	}
	return &k, nil
}

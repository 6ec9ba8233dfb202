package logkeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockPatience = time.Second
	lockInterval = 5 * time.Millisecond
)

// errBusy says that another keeper holds the state.
var errBusy = errors.New("another log keeper runs on this state")

// keeper is all containers of the node. Calls that name one container are
// serialised by mu, which is never held while output flows.
type keeper struct {
	statePath string
	lock      *os.File

	mu         sync.Mutex // guards containers and the state file
	containers map[string]*kept
}

// openKeeper takes the state file's lock and opens again what it lists.
func openKeeper(statePath string) (*keeper, error) {
	if err := os.MkdirAll(filepath.Dir(statePath), 0o711); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	lock, err := os.OpenFile(statePath+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state: %w", err)
	}
	if err := waitForLock(lock); err != nil {
		_ = lock.Close() // nothing was written
		return nil, fmt.Errorf("%w: %w", errBusy, err)
	}
	k := &keeper{statePath: statePath, lock: lock, containers: map[string]*kept{}}
	if err := k.load(); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

// waitForLock gives a keeper that is ending, whose socket is closed already,
// the time to let go of its lock.
func waitForLock(lock *os.File) error {
	deadline := time.Now().Add(lockPatience)
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(lockInterval) // a waiting flock cannot be given up
	}
}

// load opens the containers of the state file. One whose FIFOs or log cannot
// be opened any more is left out: its pod's directory is gone.
func (k *keeper) load() error {
	text, err := os.ReadFile(k.statePath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	var list []Container
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("read state %s: %w", k.statePath, err)
	}
	for _, config := range list {
		if c, err := open(config); err == nil {
			k.containers[config.ID] = c
		}
	}
	return nil
}

func open(config Container) (*kept, error) {
	log, err := openLog(config)
	if err != nil {
		return nil, err
	}
	return keep(config, log)
}

// save writes the state file anew. mu is held.
func (k *keeper) save() error {
	list := make([]Container, 0, len(k.containers))
	for _, id := range slices.Sorted(maps.Keys(k.containers)) {
		list = append(list, k.containers[id].snapshot())
	}
	text, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	// No fsync: the FIFOs' content does not survive a power cut either.
	next := k.statePath + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := os.Rename(next, k.statePath); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

func (k *keeper) add(config Container) error {
	if config.ID == "" || config.Stdout == "" {
		return errors.New("container needs an id and a FIFO for stdout")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.containers[config.ID] != nil {
		return nil
	}
	c, err := open(config)
	if err != nil {
		return err
	}
	k.containers[config.ID] = c
	if err := k.save(); err != nil {
		delete(k.containers, config.ID)
		c.release()
		return err
	}
	return nil
}

// remove writes the container's last output and lets go of its FIFOs.
func (k *keeper) remove(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.containers[id]
	if c == nil {
		return nil
	}
	delete(k.containers, id)
	if err := c.remove(); err != nil {
		return err
	}
	return k.save()
}

func (k *keeper) find(id string) (*kept, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %q is not kept", id)
	}
	return c, nil
}

func (k *keeper) list() []Container {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := []Container{}
	for _, id := range slices.Sorted(maps.Keys(k.containers)) {
		list = append(list, k.containers[id].snapshot())
	}
	return list
}

func (k *keeper) handle(ctx context.Context, r request) (response, error) {
	switch r.Operation {
	case opPing:
		return response{}, ctx.Err()
	case opAdd:
		return response{}, k.add(r.Container)
	case opRemove:
		return response{}, k.remove(r.Container.ID)
	case opList:
		return response{Containers: k.list()}, nil
	case opRotate:
		c, err := k.find(r.Container.ID)
		if err != nil {
			return response{}, err
		}
		return response{}, c.rotate()
	default:
		return response{}, fmt.Errorf("unknown operation %q", r.Operation)
	}
}

// close writes what was read and keeps the state: the next keeper goes on.
func (k *keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.containers {
		c.release()
	}
	clear(k.containers)
	_ = k.lock.Close() // releases the lock; nothing was written
}

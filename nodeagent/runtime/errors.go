package runtime

import "errors"

// ErrImageNotFound says that no present image has the reference.
var ErrImageNotFound = errors.New("image is not present on this node")

// StartError is a container that could not be started; Reason is the word for
// the pod's status ("StartError", "RunContainerError").
type StartError struct {
	Reason, Message string
	ExitCode        int
}

func (e *StartError) Error() string { return e.Message }

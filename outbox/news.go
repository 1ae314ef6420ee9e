package outbox

import "sync"

// news tells any number of goroutines that there is something new.
type news struct {
	mutex sync.Mutex
	next  chan struct{}
}

func newNews() *news { return &news{next: make(chan struct{})} }

// coming is closed by the next tell. Whoever takes it before looking for what is
// new misses nothing.
func (n *news) coming() <-chan struct{} {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.next
}

func (n *news) tell() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	close(n.next)
	n.next = make(chan struct{})
}

package api

import (
	"slices"
	"sync"
)

// maxActive is how many users the stats name.
const maxActive = 20

// active are the users who sent events last, newest first, for people who
// want somebody to look at.
type active struct {
	mutex sync.Mutex
	users []string
}

func (a *active) add(user string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	at := slices.Index(a.users, user)
	if at < 0 {
		if len(a.users) < maxActive {
			a.users = append(a.users, user)
		}
		at = len(a.users) - 1
	}
	copy(a.users[1:at+1], a.users[:at])
	a.users[0] = user
}

// forget drops a user who was deleted.
func (a *active) forget(user string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.users = slices.DeleteFunc(a.users, func(u string) bool { return u == user })
}

func (a *active) list() []string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return append([]string{}, a.users...)
}

package database

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// ErrDiagnosis is the error of a database that can not be used as it is; its
// text says in words what is wrong and what can be done.
var ErrDiagnosis = errors.New("the database can not be used")

// Diagnosis is an error with the words that go with it.
type Diagnosis struct {
	Words string
	Cause error
}

// Error is the words alone: causes can be long, and are for logs.
func (d *Diagnosis) Error() string { return ErrDiagnosis.Error() + ": " + d.Words }

// Unwrap gives the cause as well.
func (d *Diagnosis) Unwrap() []error { return []error{ErrDiagnosis, d.Cause} }

// Words say what an error of connecting to addr means and what can be done;
// empty where it is none of the network, of TLS or of time. section is where
// the settings are.
func Words(err error, section, addr string) string {
	var name *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return fmt.Sprintf("there is no host %s: correct %s.dsn", name.Name, section)
	case errors.As(err, &name):
		return fmt.Sprintf("the name %s can not be looked up: %s", name.Name, name.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return addr + " refuses connections: no database runs there, or it listens on another address or port"
	case errors.Is(err, syscall.ENOENT) && errors.As(err, &op) && op.Op == "dial":
		return addr + " is no socket: no database runs there, or it has another path"
	case errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		return addr + " can not be reached from this machine: there is no route to it"
	}
	if words := security(err, section); words != "" {
		return words
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &op) && op.Timeout():
		return fmt.Sprintf("%s does not answer in time: it is overloaded or hangs, a firewall drops what is sent, or the address in %s.dsn is wrong", addr, section)
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return addr + " closed the connection: it restarts, or what is there is another kind of server"
	}
	return ""
}

// security are the words of TLS that does not fit.
func security(err error, section string) string {
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	switch {
	case errors.As(err, &record):
		return fmt.Sprintf("the server does not speak TLS on that port: set %s.tls.enabled to false, or have TLS enabled there", section)
	case errors.As(err, &unknown):
		return fmt.Sprintf("the server's certificate is signed by nobody that is trusted here: set %s.tls.ca_file to the certificate of its authority", section)
	case errors.As(err, &host):
		return fmt.Sprintf("the server's certificate is not for that name (%s): set %s.tls.server_name, or use a name that it has", host.Error(), section)
	case errors.As(err, &invalid):
		return "the server's certificate is not valid: " + invalid.Error()
	case errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls"):
		return fmt.Sprintf("the server refuses this client's TLS: it wants a certificate that it trusts (%s.tls.cert_file and key_file)", section)
	}
	return ""
}

// Rights are those that a section's user needs on the tables: import only reads.
func Rights(section string) string {
	if section == "import" {
		return "SELECT"
	}
	return "ALL"
}

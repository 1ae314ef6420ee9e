package databasetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"millrace/catalog/database"
)

// certify makes a certificate that signs itself.
func (s *Server) certify(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.ca = filepath.Join(s.dir, "certificate.pem")
	s.write(t, s.ca, "CERTIFICATE", der)
	s.write(t, s.key(), "PRIVATE KEY", secret)
	if s.Driver == database.PostgreSQL {
		rules := "hostssl all all all trust\n"
		if err := os.WriteFile(filepath.Join(s.dir, "data", "pg_hba.conf"), []byte(rules), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *Server) key() string { return filepath.Join(s.dir, "key.pem") }

// write writes a file that only the server's user can read.
func (s *Server) write(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.user != nil {
		if err := os.Chown(path, int(s.user.Uid), int(s.user.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}

// secure are the arguments with which a server wants TLS.
func (s *Server) secure() []string {
	if s.Driver == database.PostgreSQL {
		return []string{"-c", "ssl=on", "-c", "ssl_cert_file=" + s.ca, "-c", "ssl_key_file=" + s.key()}
	}
	return []string{"--ssl-cert=" + s.ca, "--ssl-key=" + s.key(), "--require-secure-transport=ON"}
}

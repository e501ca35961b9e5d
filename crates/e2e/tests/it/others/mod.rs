//! Against mail systems and name servers of others, both ways (rule 39).

mod start;
